/*
 * omni.h - speech in, text and speech out.
 *
 * The only public header of libomni. A whole program, but for your microphone and loudspeaker:
 *
 *     #include <omni.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         omni_model *model; omni_engine *engine; omni_session *session;
 *         if (omni_model_load("models/tiny", NULL, &model) ||
 *             omni_engine_new(model, NULL, &engine) ||
 *             omni_session_new(engine, NULL, &session))
 *             return fprintf(stderr, "%s\n", omni_last_error()), 1;
 *
 *         static float pcm[16000 * 30];            // mono, 16 kHz, [-1, 1]
 *         size_t n = read_my_microphone(pcm, 16000 * 30);
 *         if (omni_session_push_audio(session, pcm, n) ||
 *             omni_session_end_input(session))     // the person stopped speaking
 *             return fprintf(stderr, "%s\n", omni_last_error()), 1;
 *
 *         omni_event ev;
 *         for (;;) {
 *             int rc = omni_session_next_event(session, &ev);
 *             if (rc == OMNI_AGAIN && omni_engine_step(engine) >= 0) continue;
 *             if (rc != OMNI_OK) return fprintf(stderr, "%s\n", omni_last_error()), 1;
 *             if (ev.type == OMNI_EVENT_TEXT)  fwrite(ev.text, 1, ev.n_text, stdout);
 *             if (ev.type == OMNI_EVENT_AUDIO) play_my_speaker(ev.audio, ev.n_audio);
 *             if (ev.type == OMNI_EVENT_FAILED) fprintf(stderr, "%s\n", ev.text);
 *             if (ev.type >= OMNI_EVENT_END)   break;   // END, CANCELLED or FAILED
 *         }
 *         omni_session_free(session);
 *         omni_engine_free(engine);
 *         omni_model_free(model);
 *     }
 *
 * Objects
 *   omni_model    weights and metadata. Immutable once loaded; any number of
 *                 engines in any number of threads may share it.
 *   omni_engine   slots, caches, compute threads. One thread (the owner) calls
 *                 omni_engine_step; a step is one bounded slice of work that
 *                 advances every active session, batched.
 *   omni_session  one conversation in one engine: input, events, history.
 *
 * Thread rule
 *   Unless a function says otherwise, an object is used by one thread at a
 *   time, and a session by its engine's owner thread. Exceptions, safe from any
 *   one other thread while the owner steps: omni_session_push_audio (one
 *   producer, wait-free, allowed in an audio callback), omni_session_end_input
 *   and omni_session_push_text (same producer), omni_session_next_event and
 *   omni_session_get_stats (one consumer), and omni_session_cancel (any thread,
 *   signal handlers included).
 *
 * Errors
 *   Functions return OMNI_OK (0), OMNI_AGAIN (1), or a negative omni_status.
 *   After a negative return omni_last_error() describes it for this thread.
 *   A function that fails leaves its out-parameters NULL or untouched.
 *   ERR_ARG is returned for a NULL that is not said to be allowed, too.
 *
 * libomni starts no threads of its own (the compute backend has its pool),
 * prints nothing and never exits.
 */
#ifndef OMNI_H
#define OMNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OMNI_VERSION_MAJOR 0
#define OMNI_VERSION_MINOR 1
#define OMNI_VERSION_PATCH 0

#if defined(__GNUC__)
#define OMNI_API __attribute__((visibility("default")))
#else
#define OMNI_API
#endif

/* ---- status ------------------------------------------------------------- */

typedef enum omni_status {
    OMNI_OK          = 0,
    OMNI_AGAIN       = 1,   /* nothing now; not an error                        */
    OMNI_ERR_ARG     = -1,  /* an argument is outside its documented range      */
    OMNI_ERR_STATE   = -2,  /* not allowed in the object's present state        */
    OMNI_ERR_MEMORY  = -3,  /* an allocation failed                             */
    OMNI_ERR_IO      = -4,  /* a file could not be opened, read or written      */
    OMNI_ERR_FORMAT  = -5,  /* a file is not what its format demands            */
    OMNI_ERR_MODEL   = -6,  /* well-formed, but not a model we can run: wrong
                               architecture, missing or misshapen tensor, two
                               files that do not belong together                */
    OMNI_ERR_LIMIT   = -7,  /* a stated ceiling was reached (context, slots)    */
    OMNI_ERR_BACKEND = -8,  /* the compute backend refused or failed            */
    OMNI_ERR_AUDIO   = -9   /* audio with NaN or infinity, or none at all       */
} omni_status;

/* A short English name, e.g. "bad argument". Never NULL, static. Any thread. */
OMNI_API const char *omni_status_string(int status);

/* One line on the last failure in this thread: what, where, found, wanted, and
 * how to mend it. Never NULL; valid until the next failing call here. */
OMNI_API const char *omni_last_error(void);

/* "0.1.0". Static. Any thread. */
OMNI_API const char *omni_version(void);

/* ---- model -------------------------------------------------------------- */

typedef struct omni_model   omni_model;
typedef struct omni_engine  omni_engine;
typedef struct omni_session omni_session;

typedef struct omni_model_params {
    int  n_gpu_layers;  /* LLM layers on the GPU; > 0 also moves the other stages. Default all (999) when
                           built for a GPU and one is there, else 0                           */
    bool use_mmap;      /* default true                                               */
    bool force_f32;     /* speech stages computed in f32 whatever the file's type. Default false */
    const char *rpc;    /* NULL, or llama.cpp RPC servers "HOST:PORT,HOST:PORT" (IPv4) that compute LLM layers: they count
                           as GPUs, the n_gpu_layers are spread over them and the GPUs here by their free memory; the
                           other stages stay on this machine. They see and can change all the LLM computes, nothing is
                           encrypted and no one is asked for a password: trusted networks only. A server that goes away
                           while the model lives ends the process (ggml). Needs only live during omni_model_load.
                           Default NULL                                              */
} omni_model_params;

OMNI_API omni_model_params omni_model_default_params(void);

/* What a model is, for humans and programs. Strings live as long as the model. */
typedef struct omni_model_info {
    const char *name;            /* general.name of the LLM file                 */
    const char *llm_path;
    const char *speech_path;
    const char *llm_description; /* e.g. "llama 8B Q4_0"                         */
    uint64_t llm_bytes, speech_bytes;
    uint64_t llm_parameters, speech_parameters;
    int sample_rate_in;          /* Hz, what push_audio takes (16000)            */
    int sample_rate_out;         /* Hz, what AUDIO events carry (16000)          */
    int window_samples;          /* longest question the encoder hears           */
    int n_mels, encoder_positions, encoder_width, encoder_layers;
    int adaptor_stack, speech_rows;   /* speech_rows = LLM positions per question */
    int llm_width, llm_layers, llm_vocab, llm_context_trained;
    int upsample;                /* lambda: decoder positions per LLM token       */
    int decoder_width, decoder_layers, units;
    int samples_per_frame;       /* vocoder hop                                  */
    int vocoder_lookahead;       /* samples of future the exact audio waits for  */
    const char *tools_prompt;    /* how the model is told of tools, for a preamble: {tools} stands for their
                                    JSON, one per line. NULL: it calls none         */
} omni_model_info;

/* path: a model directory, or its LLM file (the "-speech-" file is found beside
 * it). params may be NULL. *out is yours, free it after the engines using it.
 * Returns OK, ERR_ARG, ERR_IO, ERR_FORMAT, ERR_MODEL, ERR_MEMORY, ERR_LIMIT (too many RPC devices), ERR_BACKEND
 * (no GPU; an RPC server is not there, or in use, or speaks another version). */
OMNI_API int omni_model_load(const char *path, const omni_model_params *params, omni_model **out);

/* NULL is allowed. All engines made from the model must be gone. */
OMNI_API void omni_model_free(omni_model *model);

/* Any thread. */
OMNI_API const omni_model_info *omni_model_get_info(const omni_model *model);

/* Walks the metadata of both files, LLM first: calls visit(user, file, key, value)
 * with file "llm" or "speech"; arrays are abbreviated. Stops when visit returns non-zero
 * and returns that. OK, ERR_ARG. Any thread. */
OMNI_API int omni_model_each_metadata(const omni_model *model,
    int (*visit)(void *user, const char *file, const char *key, const char *value), void *user);

/* Walks the tensors of the speech file, likewise. shape has n_dims entries in C order. OK, ERR_ARG. Any thread. */
typedef struct omni_tensor_info {
    const char *name, *type;
    int n_dims;
    int64_t shape[4];
    uint64_t bytes;
} omni_tensor_info;
OMNI_API int omni_model_each_tensor(const omni_model *model,
    int (*visit)(void *user, const omni_tensor_info *tensor), void *user);

/* ---- engine ------------------------------------------------------------- */

typedef struct omni_engine_params {
    int n_slots;        /* sessions that can exist at once. Default 1, 1..255            */
    int n_threads;      /* compute threads. Default 0 = one per physical core, and one in
                           all for an LLM of less than 50 M weights                   */
    int n_ctx;          /* LLM positions per slot (llama.cpp's -c). Default 0 = what fits
                           a spoken question and its answer four times, at most the model's */
    int prefill_chunk;  /* LLM positions per prefill slice. Default 0 = 64, 512 with a GPU */
    bool prefix_cache;  /* compute the prompt prefix's KV once. Default true             */
    bool layer0_sharing;/* speech decoder: one layer-0 q/k/v per token. Default true     */
    bool batching;      /* what several sessions need at once is computed at once, in all stages where that
                           pays; false: one session after another. Default true          */
    int kv_unified;     /* one LLM KV cache for all slots (1): a token for each of them is one pass over the
                           weights, but each looks past everybody's positions; or one for each (0).
                           Default -1 = 0 for an LLM of less than 50 M weights on the CPU, else 1 */
    bool catch_up;      /* what the LLM has to read (again) of a conversation is read between turns, when there is
                           time for it, not once the next question is asked. Default true */
} omni_engine_params;

OMNI_API omni_engine_params omni_engine_default_params(void);

/* Borrows model until omni_engine_free. params may be NULL.
 * A conversation that outgrows the context loses its oldest turns, until what is left and the next question fill at
 * most half of it (but the last turn is kept if that is enough); the rest is read again by the LLM then. That is when a
 * question is asked; where spoken ones are to come (turn taking is on, or audio was pushed) and catch_up, after an answer.
 * Returns OK, ERR_ARG, ERR_LIMIT (context too small for the prompt), ERR_MEMORY, ERR_BACKEND. */
OMNI_API int omni_engine_new(const omni_model *model, const omni_engine_params *params, omni_engine **out);

/* NULL is allowed. Its sessions must be freed first. */
OMNI_API void omni_engine_free(omni_engine *engine);

/* One bounded slice of work for every active session. Owner thread.
 * OK: something advanced. AGAIN: nothing to do (wait for input or for a consumer
 * to make room in a full event queue). Errors of one session become its FAILED event; an error in a computation
 * that several share (LLM, speech decoder) becomes one of each of them. A negative return means that the engine itself
 * is broken. ERR_BACKEND: turns failed in the backend (a GPU that is gone) in this step and in two before it, none having
 * ended well between; the step has done what it could and may be called again. ERR_ARG: engine is NULL. */
OMNI_API int omni_engine_step(omni_engine *engine);

/* ---- session ------------------------------------------------------------ */

typedef struct omni_session_params {
    int   max_tokens;     /* per answer. Default 256                                   */
    float temperature;    /* 0 = greedy. Default 0                                      */
    int   top_k;          /* used when temperature > 0. Default 50, 0 = off            */
    float top_p;          /* used when temperature > 0. Default 1.0                     */
    uint32_t seed;        /* default 0xFFFFFFFF = random                                */
    int   packet_samples; /* Omega: smallest AUDIO event, except the last. Default 0 = as
                             soon as there is any                                      */
    bool  speech;         /* false: text answers only. Default true                     */
    bool  early_audio;    /* emit first samples before their look-ahead is complete;
                             lower first-sound latency; inexact until a cross-fade
                             within the first second, exact from there on. Default false */
    bool  keep_history;   /* multi-turn. Default true                                   */
    const char *preamble; /* UTF-8 that stands before a question in the prompt, such as the tools that may be
                             called; again only when the turn that had it was forgotten. Copied. Default NULL */
    bool  calls;          /* an answer that begins with { or [ is a call of a tool: text without speech.
                             Default false                                              */
    const char *grammar;  /* GBNF (llama.cpp's --grammar) that an answer must follow. Copied. Default NULL */
} omni_session_params;

OMNI_API omni_session_params omni_session_default_params(void);

/* Other parameters from the next turn on. Only between turns: ERR_STATE while one runs or waits. A new seed starts
 * the random numbers anew. OK, ERR_ARG, ERR_MEMORY, ERR_LIMIT (a preamble that the context can not hold); on failure nothing
 * has changed. Owner thread. */
OMNI_API int omni_session_set_params(omni_session *session, const omni_session_params *params);

/* Takes a free slot. Returns OK, ERR_ARG, ERR_LIMIT (no slot free, or a preamble that the context can not hold),
 * ERR_MEMORY. Owner thread. */
OMNI_API int omni_session_new(omni_engine *engine, const omni_session_params *params, omni_session **out);

/* NULL is allowed. Cancels a running turn. Owner thread. */
OMNI_API void omni_session_free(omni_session *session);

/* Forgets the conversation: history, KV cache, pending input. Only between turns: ERR_STATE while one runs or a
 * question waits. OK, ERR_ARG, ERR_STATE, ERR_MEMORY; on failure nothing has changed. Owner thread, and nobody pushes
 * meanwhile. */
OMNI_API int omni_session_reset(omni_session *session);

/* Appends n mono samples at the model's input rate, nominally in [-1, 1], copied.
 * Wait-free; one producer thread. While an answer runs, input collects for the
 * next turn. Returns OK; ERR_ARG; ERR_AUDIO when a sample is NaN or infinite (nothing was taken);
 * ERR_LIMIT when more than the input buffer (two encoder windows) would be pending
 * (nothing was taken). Audio beyond one window is reported by a CUT event. */
OMNI_API int omni_session_push_audio(omni_session *session, const float *samples, size_t n);

/* The question is complete: answer it. Same thread as push_audio. With turn taking on it asks at once, without
 * waiting for silence (see omni_turn_params); during an answer it waits for that, and what is pushed behind it is not
 * heard before.
 * OK; ERR_ARG; ERR_AUDIO when nothing was pushed; ERR_STATE when a question already waits. */
OMNI_API int omni_session_end_input(omni_session *session);

/* A typed question (UTF-8, copied, stripped of white space at its ends) instead of a spoken
 * one; special tokens in it are plain text. Audio pushed before stays for the next
 * question. OK; ERR_ARG empty, not UTF-8 or more than 1 MiB; ERR_STATE when a question already waits; ERR_MEMORY. Same
 * thread as push_audio. One that is too long for the slot's context gives a FAILED event, ERR_LIMIT, and the history
 * stays as it is. */
OMNI_API int omni_session_push_text(omni_session *session, const char *utf8);

/* Stops the running (else the waiting) turn within one slice; its last event is CANCELLED. What was said so
 * far stays in the history; a question that got no word of an answer does not.
 * Any thread, signal handlers included; does nothing when idle. */
OMNI_API void omni_session_cancel(omni_session *session);

/* Drops the audio that was pushed and not asked yet; with turn taking on, speech in progress and segments that
 * wait for end_input too (no event tells). The input clock goes on. Owner thread, and nobody pushes meanwhile.
 * OK; ERR_ARG; ERR_STATE when a spoken question waits. */
OMNI_API int omni_session_clear_input(omni_session *session);

/* ---- turn taking ---------------------------------------------------------
 *
 * Manual by default: end_input ends a question. With turn taking on, the session listens by itself to all that is
 * pushed, also while it answers, and a turn begins when the person has paused for silence_ms.
 *
 *      audio   ___________/~~~~~~~~~~~~~~~~~~~~~~~\__________________________
 *                  ^      ^   ^                   ^   ^                  ^
 *          first sample   |   SPEECH_STARTED      |   end of the         SPEECH_STOPPED,
 *     of the question     onset, 20..60 ms before |   question           the turn begins
 *     |<--prefix_ms------>|                       |<->| 100 ms
 *                                                 |<---silence_ms------->|
 *
 * Positions count samples of the session's input clock: all that were ever pushed, from 0; no reset sets it back.
 * A question that outgrows the window is cut as ever (CUT); the person's speech ends nonetheless where it ends.
 *
 * Speculation: the question's samples are known 100 ms after the last speech, and the answer is prepared inside the
 * silence window from then on: encoder, adaptor, prompt, and the answer's first tokens up to its first sound, which
 * are held back. If the person goes on it is thrown away, the state is as before; if not, the first text and sound
 * come out of the same step as SPEECH_STOPPED. Answers are the same bits with and without. Turns that were begun come
 * first: nothing is prepared while one waits for its first sound, nor when they keep the engine busy for 0.6 of the
 * last second.
 *
 * Interruption: speech of at least interrupt_ms during an answer gives SPEECH_STARTED and, within the same slice,
 * CANCELLED with reason OMNI_END_INTERRUPTED; the speech becomes the next question. Shorter speech ("uh-huh") is
 * not noticed at all: no event, no turn. An answer is taken to sound in real time: the rule holds from its
 * first AUDIO event until as many samples were pushed as it is long, also when END has come already (then there
 * is nothing to cancel). Call omni_session_trim to tell what was heard. Without `interrupt` the answer goes on;
 * the speech is segmented and, if it has ended, answered after it. */
typedef struct omni_turn_params {
    bool  enabled;       /* default true (a NULL in omni_session_set_turns is manual)        */
    float threshold;     /* 0..1: speech probability that counts. Default 0.5; higher for loud surroundings */
    int   prefix_ms;     /* audio before the onset that belongs to the question. Default 300, 0..5000 */
    int   silence_ms;    /* pause that ends a question. Default 500, 100..10000              */
    bool  answer;        /* default true. false: segments are told by events and collect until end_input
                            asks: from the first unanswered one to the end of the last, or to now if the
                            person speaks                                                    */
    bool  speculate;     /* default true                                                     */
    bool  interrupt;     /* default true                                                     */
    int   interrupt_ms;  /* least speech that stops an answer. Default 100, 0..5000; 500 lets most
                            backchannels pass, and stops an answer that much later            */
} omni_turn_params;

OMNI_API omni_turn_params omni_turn_default_params(void);

/* Turn taking from here on; NULL or !enabled: manual. A running turn goes on, audio that was not asked yet is
 * dropped as by clear_input when it is switched on or off; other changes keep it. Needs a model with 16 kHz input:
 * ERR_MODEL otherwise. OK, ERR_ARG, ERR_STATE (a spoken question waits), ERR_MEMORY. Owner thread, and nobody pushes
 * meanwhile. */
OMNI_API int omni_session_set_turns(omni_session *session, const omni_turn_params *params);

/* With turn taking on:
 *   end_input   asks at once: with speech in progress what was said so far (SPEECH_STOPPED comes first), else the
 *               segments that wait, else all since the last question, at most a window. ERR_AUDIO as ever, when
 *               nothing was pushed since the last end_input.
 *   push_text   interrupts nothing; speech in progress becomes the next question.
 *   cancel      stops the answer, and no other thing.
 *   trim, reset reset forgets speech in progress. trim does not, and is allowed while the person speaks. */

/* ---- events --------------------------------------------------------------- */

typedef enum omni_event_type {
    OMNI_EVENT_BEGIN = 1,  /* the turn started. sample_offset: that of its SPEECH_STOPPED if turn taking
                              asked, 0 if end_input or push_text did                 */
    OMNI_EVENT_CUT,        /* the question was longer than the window: audio from
                              sample_offset on was not heard                         */
    OMNI_EVENT_TEXT,       /* complete UTF-8; an answer has no white space at its ends */
    OMNI_EVENT_AUDIO,      /* PCM at sample_rate_out; sample_offset counts from the
                              turn's start, events are contiguous                    */
    OMNI_EVENT_SPEECH_STARTED, /* turn taking: the person speaks. Outside turns: it may come within one, before
                              BEGIN of its own; `turn` is that of the question if it is the next one.
                              sample_offset: first sample of the question (padding included),
                              speech_offset: the onset; both on the input clock      */
    OMNI_EVENT_SPEECH_STOPPED, /* the silence window ended. sample_offset: end of the question,
                              speech_offset: end of the speech                       */
    OMNI_EVENT_END,        /* the three ways a turn ends; exactly one comes          */
    OMNI_EVENT_CANCELLED,
    OMNI_EVENT_FAILED      /* status and text say why                                */
} omni_event_type;

typedef enum omni_end_reason {
    OMNI_END_STOP = 0,     /* the model's end token                                  */
    OMNI_END_LENGTH,       /* max_tokens                                             */
    OMNI_END_CONTEXT,      /* the slot's context is full                             */
    OMNI_END_CANCEL,       /* CANCELLED: by omni_session_cancel                      */
    OMNI_END_INTERRUPTED   /* CANCELLED: the person spoke (turn taking)              */
} omni_end_reason;

typedef struct omni_event {
    omni_event_type type;
    uint32_t turn;           /* 0, 1, 2, ... within the session                      */
    int64_t  time_us;        /* monotonic clock                                      */
    const char  *text;       /* TEXT, FAILED: bytes, NUL-terminated                   */
    size_t       n_text;
    const float *audio;      /* AUDIO: n_audio samples                               */
    size_t       n_audio;
    uint64_t     sample_offset; /* AUDIO: output samples; CUT: input samples of the question; BEGIN, SPEECH_: input clock */
    uint64_t     speech_offset; /* SPEECH_STARTED, SPEECH_STOPPED: input clock        */
    int          status;     /* FAILED: omni_status                                  */
    omni_end_reason reason;  /* END, CANCELLED                                       */
} omni_event;

/* OK and one event, or AGAIN. Borrowed: text and audio stay valid until the next
 * call of this function. The queue holds about 8 s of audio; when it is full the turn
 * waits, others go on. One consumer thread. */
OMNI_API int omni_session_next_event(omni_session *session, omni_event *event);

/* After an interruption: the person heard only the first n_samples of the last
 * answer. History and KV cache are cut to the tokens that had begun to sound by then.
 * Between turns; ERR_STATE otherwise, and when the last turn gave no spoken answer.
 * n_tokens_kept may be NULL. Owner thread. */
OMNI_API int omni_session_trim(omni_session *session, uint64_t n_samples, int *n_tokens_kept);

/* ---- what is remembered ---------------------------------------------------- */

/* A past turn into the history, behind those that are there, as if it had been asked in writing and answered:
 * nothing is generated, no event comes; the LLM reads it before the next question. Both UTF-8, copied, stripped of
 * white space at their ends, special tokens in them are plain text. The question may be empty: something said
 * unasked. *turn (may be NULL) is its number; the turns after it count on. When the context is full the oldest turns are forgotten. Without
 * keep_history it is forgotten by the next question, like any other.
 * OK; ERR_ARG: NULL, not UTF-8, an empty answer, more than 1 MiB; ERR_STATE: a turn runs or waits; ERR_LIMIT: it takes
 * more than half of the slot's context; ERR_MEMORY. On failure nothing has changed. Afterwards there is nothing to trim
 * until the next answer. Owner thread. */
OMNI_API int omni_session_add_turn(omni_session *session, const char *question_utf8, const char *answer_utf8,
                                   uint32_t *turn);

/* Question and answer of one turn leave the history: what follows them is read again by the LLM at the next question.
 * turn: omni_event.turn, or what add_turn gave. OK also when it is not in the history any more; ERR_ARG: no turn has
 * had this number since the last reset; ERR_STATE: a turn runs or waits. Owner thread. */
OMNI_API int omni_session_forget_turn(omni_session *session, uint32_t turn);

/* Times of a turn, µs; counts. A computation shared with other sessions counts in full for each of them. */
typedef struct omni_stats {
    int64_t t_mel, t_encoder, t_adaptor, t_prefill, t_llm, t_decoder, t_vocoder; /* busy time per stage */
    int64_t t_first_text;    /* from end_input, push_text or SPEECH_STOPPED to first TEXT event, 0 = none (at least
                                1 otherwise, also when it was held back)                 */
    int64_t t_first_audio;   /* same, first AUDIO event                                 */
    int64_t t_total;         /* same, terminal event                                    */
    int n_prompt, n_prompt_cached, n_tokens, n_units, n_frames;
    uint64_t n_samples_in, n_samples_out;
    int n_history;           /* LLM positions in use                                    */
    int64_t t_ahead;         /* turn taking: from the start of speculation to the end of the silence window;
                                0 = the turn was not prepared ahead                      */
    int n_thrown_away;       /* speculations that came to nothing before this turn       */
} omni_stats;

/* Of the turn whose terminal event was the last that omni_session_next_event gave, whatever has ended since. The
 * consumer's thread. OK; ERR_ARG; ERR_STATE: no terminal event was taken yet. */
OMNI_API int omni_session_get_stats(const omni_session *session, omni_stats *stats);

/* ---- probe: the numbers between stages ----------------------------------- */

typedef struct omni_array {
    bool    is_int;          /* i32 instead of f32                                   */
    int     n_dims;          /* 1 or 2                                               */
    int64_t shape[2];        /* C order                                              */
    void   *data;            /* yours: omni_array_free                                */
} omni_array;

/* Runs one question (greedy, at most max_tokens) in a scratch session of the
 * engine (a slot must be free) and returns what one stage gave; other sessions go on meanwhile. stage:
 *   mel [F][n_mels] f32 · encoder [E][C] f32 · adaptor [R][D] f32 · prompt [P] i32
 *   (one -200 where the speech rows go) · tokens [M] i32 · hidden [M][D] f32 ·
 *   ctc [lambda*M][K+1] f32 · symbols [lambda*M] i32 · units [U] i32 · durations [U] i32 ·
 *   wave [S] f32
 * Returns OK, ERR_ARG (unknown stage, max_tokens below 1), ERR_AUDIO, ERR_LIMIT (no slot is free), ERR_MEMORY, ERR_MODEL,
 * ERR_BACKEND, or what else a FAILED event may carry. Owner thread. */
OMNI_API int omni_probe(omni_engine *engine, const char *stage, const float *samples, size_t n,
                        int max_tokens, omni_array *out);

/* The vocoder alone: units [n], each in [0, K), to wave [S] f32. It takes a free slot meanwhile.
 * OK; ERR_ARG (a unit that there is not); ERR_LIMIT: no slot is free, or too many units; ERR_MEMORY; ERR_BACKEND. Owner
 * thread. */
OMNI_API int omni_probe_vocoder(omni_engine *engine, const int32_t *units, size_t n, omni_array *out);

OMNI_API void omni_array_free(omni_array *array);

#ifdef __cplusplus
}
#endif
#endif /* OMNI_H */
