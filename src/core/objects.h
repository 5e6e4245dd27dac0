/* objects: what the three handles of omni.h hold. Letters as in hparams.h. */
#ifndef OM_OBJECTS_H
#define OM_OBJECTS_H

#include "omni.h"

#include "base/hparams.h"
#include "base/ring.h"
#include "base/rpc.h"
#include "base/weights.h"
#include "core/busyness.h"
#include "core/ear.h"
#include "core/files.h"
#include "core/prompt.h"
#include "core/queue.h"
#include "core/record.h"
#include "core/script.h"
#include "core/text.h"
#include "core/voice.h"
#include "stage/adaptor.h"
#include "stage/encoder.h"
#include "stage/lm.h"
#include "stage/mel.h"
#include "stage/speech-decoder.h"
#include "stage/vocoder.h"

#include <stdatomic.h>

struct omni_model {
    om_files files;
    om_weights *llm_file, *speech_file;
    om_hparams hp;
    om_device *dev;             /* where the weights of the speech stages lie */
    bool use_gpu, force_f32;
    om_lm_model *lm;
    void *devices[OM_RPC_DEVICES];  /* of the LLM, where RPC servers were named */
    om_prompt prompt;
    float *filters;             /* [n_mels][n_fft/2+1] */
    om_encoder_weights *encoder;
    om_adaptor_weights *adaptor;
    om_speech_decoder_weights *decoder;
    om_vocoder_weights *vocoder;
    omni_model_info info;
    char *name;                 /* general.name of the LLM file */
};

struct omni_engine {
    const omni_model *model;
    omni_engine_params params;  /* defaults filled in */
    om_device *dev;
    om_lm *lm;
    om_encoder *encoder;
    om_adaptor *adaptor;
    om_speech_decoder *decoder;
    om_vocoder *vocoder;
    int n_prefix;               /* positions in the LM's spare sequence; 0 = prefix cache off */
    omni_session **sessions;    /* [n_slots], NULL = free */
    omni_session *encoding;     /* whose question the encoder works on */
    om_busyness busyness;       /* of turns that were begun */
    double most_busy;           /* share of a second from which on nothing is prepared ahead */
    bool room;                  /* something may be, in this step */
    /* the order of this step's work (order.h) */
    int64_t looked_at;          /* µs */
    bool hurries;               /* it is for answers alone */
    bool one_waits;             /* somebody waits for a first sound */
    bool ends_begun;            /* the last step left turns that were begun */
    int n_broken;               /* steps in a row, of those that ended turns, in which one failed in the backend */
    char why_broken[256];
    uint64_t n_events;          /* ever posted: a step that posted one has done something */
    int n_between;              /* most positions of a prefill between turns */
    int n_prefill;              /* most positions of several sessions in a prefill batch */
    int32_t *prefill_ids;       /* [n_prefill] */
    float *prefill_rows;        /* [n_prefill][D] */
    int *runs;                  /* [n_slots] positions of each session in it */
    int prefill_turn;           /* the slot that is asked first for the next prefill slice */
    float *mel, *rows;          /* scratch: [F][n_mels], [E][C] */
    float *speech_rows;         /* scratch: [R][D] */
    int32_t *symbols;           /* scratch: [lambda] */
    float *logits;              /* scratch for probes: [lambda][K+1] */
    /* the batch of an answering step: [n_slots] each, hidden [n_slots][D] */
    omni_session **batch;
    int *slots;
    int32_t *fed, *picked;
    float *hidden;
    /* whom the computation that runs now serves: it is abandoned when all of them cancelled */
    omni_session **served;
    int n_served;
};

/* What a session keeps of the texts among its parameters. */
typedef struct om_texts {
    char *preamble, *grammar;   /* NULL: none */
    om_piece ids;               /* of the preamble */
} om_texts;

typedef enum om_state {
    OM_IDLE,        /* nothing asked, nothing heard                       */
    OM_LISTEN,      /* audio comes in: to mel                             */
    OM_ENCODE,      /* the question is complete: encoder, adaptor         */
    OM_PREFILL,     /* the prompt goes into the LLM                       */
    OM_READY,       /* prepared ahead: the answer can begin               */
    OM_ANSWER,      /* token by token, with speech                        */
    OM_FLUSH,       /* the last token is out, the vocoder still has sound */
    OM_DONE         /* the terminal event waits for room                  */
} om_state;

/* What a turn prepared ahead changes, as it was before. */
typedef struct om_before { int script, used, answer_at, script_before; } om_before;

enum { OM_ASK_NONE, OM_ASK_AUDIO, OM_ASK_TEXT };    /* omni_session.question */

struct omni_session {
    omni_engine *engine;
    int slot;
    omni_session_params params;     /* its texts are those of `texts` */
    om_texts texts;

    /* Shared with the thread that asks. The fields below `question` are written before it, read after it. */
    om_ring *input;
    atomic_int question;
    uint64_t end_mark;              /* samples pushed when the question ended */
    int64_t asked_at;               /* µs */
    char *typed;                    /* the owner's once question was read */
    uint64_t n_pushed, n_before;    /* asking thread only: samples ever, at the last end_input */
    atomic_uint n_asked, n_answered;
    atomic_uint cancel;             /* the turn to cancel, counted like n_answered from 1 */
    om_queue *events;               /* shared with the thread that listens */

    /* The owner's. */
    om_mel *mel;
    om_ear ear;                     /* turn taking */
    bool ahead;                     /* the turn is being prepared ahead: nobody knows of it yet */
    int64_t ahead_at;
    om_before before_ahead;
    bool wants_ahead;               /* speech has paused: to be prepared when there is room */
    bool holds;                     /* ahead, and answering: text and voice hold what will be given out */
    om_voice other_voice;           /* when it holds: of the answer before */
    bool sounds;                    /* the last answer's sound began at sounds_from of the input clock */
    uint64_t sounds_from;
    uint64_t n_pulled;              /* samples ever taken out of input */
    uint64_t n_heard, n_question;   /* of this question: within the window, in all */
    om_script script;
    om_text text;
    om_voice voice;
    om_record *record;              /* probes only, else NULL */

    om_state state;
    int64_t started_at;             /* asked_at of the running turn */
    uint32_t turn;                  /* number of the running turn, or of the next */
    bool told;                      /* the preamble stands in turn told_in, if that is still in the script */
    uint32_t told_in;
    int script_before;              /* script.n before the question */
    int answer_at;                  /* script position of the first answer token */
    int n_tokens;                   /* picked in this answer, the end token included */
    int32_t feed;                   /* token that goes into the next step */
    omni_event end;                 /* the terminal event to be posted */
    char why[256];                  /* its text */
    bool has_answer;                /* the script ends with an answer that was spoken: trim may cut it */
    bool spoke;                     /* that turn's answers had speech */
    bool opened, silent;            /* the answer has a first letter; it says that this is a call: no speech */
    omni_stats stats;               /* of the running turn */
};

#endif
