/* chat-question: see chat-question.h. */
#include "chat-question.h"

#include "audio-memory.h"
#include "base64.h"
#include "json-bounds.h"
#include "sound.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void srv_chat_question_free(srv_chat_question *q)
{
    srv_past_free(&q->past);
    free(q->samples);
    q->samples = NULL;
    json_decref(q->tools);
    q->tools = NULL;
    srv_tools_forget(&q->params);
}

/* ---- speech in ---------------------------------------------------------------------------- */

static bool to_model_rate(const srv *server, float *samples, size_t n, int hz, srv_chat_question *q)
{
    srv_rate *rate = srv_rate_new(hz, server->info->sample_rate_in);
    const float *out;
    size_t n_out = 0;
    free(q->samples);
    q->samples = NULL;
    if (rate && srv_rate_run(rate, samples, n, true, &out, &n_out) && n_out) q->samples = malloc(n_out * sizeof *out);
    if (q->samples) memcpy(q->samples, out, n_out * sizeof *out);
    q->n_samples = n_out;
    srv_rate_free(rate);
    free(samples);
    return q->samples != NULL;
}

static bool read_audio(const srv *server, const json_t *part, const char *path, srv_chat_question *q, srv_trouble *t)
{
    char inner[200];
    snprintf(inner, sizeof inner, "%.150s.input_audio", path);
    const json_t *audio = srv_member(part, path, "input_audio", JSON_OBJECT, t);
    const json_t *data = audio ? srv_member(audio, inner, "data", JSON_STRING, t) : NULL;
    const json_t *format = data ? srv_member(audio, inner, "format", JSON_STRING, t) : NULL;
    if (!format) return false;
    const char *word = json_string_value(format);
    const bool raw = strcmp(word, "pcm16") == 0;
    const double most = (double)server->info->window_samples / server->info->sample_rate_in + 1;    /* the model hears no more */
    snprintf(inner, sizeof inner, "%.150s.input_audio.format", path);
    if (!raw && strcmp(word, "wav") != 0 && strcmp(word, "mp3") != 0)
        return srv_trouble_set(t, "invalid_value", inner, "Invalid value: '%.20s'. Supported values are: 'wav', 'mp3' and 'pcm16'.", word);
    snprintf(inner, sizeof inner, "%.150s.input_audio.data", path);
    const size_t letters = json_string_length(data);
    uint8_t *bytes = malloc(srv_base64_room(letters));
    size_t n = 0, n_samples = 0;
    float *samples = NULL;
    int hz = srv_format_rate(SRV_PCM16);
    bool ok = bytes && srv_base64_decode(json_string_value(data), letters, bytes, &n);
    if (ok && raw) {
        ok = n / 2 / 24000 <= SRV_INPUT_SECONDS;
        n_samples = n / 2 < (size_t)(24000 * most) ? n / 2 : (size_t)(24000 * most);
        samples = ok && n_samples ? malloc(n_samples * sizeof *samples) : NULL;
        ok = samples != NULL;
        if (ok) srv_sound_decode(SRV_PCM16, bytes, n_samples, samples);
    } else if (ok) {
        ok = srv_audio_read(bytes, n, strcmp(word, "wav") == 0 ? SRV_FILE_WAV : SRV_FILE_MP3, most, &samples, &n_samples, &hz);
    }
    free(bytes);
    if (ok && to_model_rate(server, samples, n_samples, hz, q)) return true;
    return srv_trouble_set(t, "invalid_value", inner, "'%s' is not a readable %s recording in base64, of at most %d seconds, %d channels and %d Hz.", inner,
                           word, SRV_INPUT_SECONDS, SRV_FILE_CHANNELS, SRV_FILE_HZ);
}

/* ---- messages ----------------------------------------------------------------------------------- */

/* hear: false: what was spoken here is not needed, nor looked at. answer: the assistant's, which may have declined one. */
static bool read_part(const srv *server, const json_t *part, const char *path, bool hear, bool answer, srv_chat_question *q, FILE *words, srv_trouble *t)
{
    char inner[200];
    const char *member = "text";
    if (!json_is_object(part)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected an object.", path);
    const json_t *type = srv_member(part, path, "type", JSON_STRING, t);
    if (!type) return false;
    if (strcmp(json_string_value(type), "input_audio") == 0) return !hear || read_audio(server, part, path, q, t);
    if (answer && strcmp(json_string_value(type), "refusal") == 0) {
        member = "refusal";
    } else if (strcmp(json_string_value(type), "text") != 0) {
        snprintf(inner, sizeof inner, "%.150s.type", path);
        return srv_trouble_set(t, "invalid_value", inner, "Invalid value: '%.40s'. Supported values are: %s.", json_string_value(type),
                               answer ? "'text' and 'refusal'" : "'text' and 'input_audio'");
    }
    const json_t *text = srv_member(part, path, member, JSON_STRING, t);
    if (text) fprintf(words, "%s%s", ftell(words) > 0 ? " " : "", json_string_value(text));
    return text != NULL;
}

static bool is_spoken(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type && strcmp(type, "input_audio") == 0;
}

/* What a message says: *text malloc'ed, samples in q when it is spoken: of several recordings the last one. hear, answer: as
 * in read_part. */
static bool read_content(const srv *server, const json_t *content, const char *path, bool hear, bool answer, srv_chat_question *q, char **text, srv_trouble *t)
{
    char inner[200];
    size_t size = 0, last = 0, i;
    const json_t *part;
    *text = NULL;
    if (!json_is_string(content) && !json_is_array(content))
        return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected a string or an array, but got %s instead.", path, srv_json_kind(content));
    FILE *words = open_memstream(text, &size);
    if (!words) return srv_trouble_set(t, NULL, NULL, "out of memory");
    bool ok = true;
    if (json_is_string(content)) fprintf(words, "%s", json_string_value(content));
    json_array_foreach(content, i, part)
        if (is_spoken(part)) last = i;
    json_array_foreach(content, i, part) {
        snprintf(inner, sizeof inner, "%.150s[%zu]", path, i);
        ok = ok && read_part(server, part, inner, hear && i == last, answer, q, words, t);
    }
    fclose(words);
    return ok && (*text || srv_trouble_set(t, NULL, NULL, "out of memory"));
}

/* An earlier answer that called functions, as the model said it. *text is malloc'ed. */
static bool read_calls(const json_t *calls, const char *path, char **text, srv_trouble *t)
{
    char inner[200];
    size_t size = 0, i;
    const json_t *call;
    *text = NULL;
    if (!json_is_array(calls)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected an array, but got %s instead.", path, srv_json_kind(calls));
    if (json_array_size(calls) > SRV_TOOLS) return srv_trouble_set(t, "array_above_max_length", path, "Invalid '%s': at most %d calls.", path, SRV_TOOLS);
    FILE *f = open_memstream(text, &size);
    bool ok = f || srv_trouble_set(t, NULL, NULL, "out of memory");
    json_array_foreach(calls, i, call) {
        snprintf(inner, sizeof inner, "%.150s[%zu]", path, i);
        const json_t *function = ok ? srv_member(call, inner, "function", JSON_OBJECT, t) : NULL;
        snprintf(inner, sizeof inner, "%.150s[%zu].function", path, i);
        const json_t *name = function ? srv_member(function, inner, "name", JSON_STRING, t) : NULL;
        const json_t *arguments = name ? srv_member(function, inner, "arguments", JSON_STRING, t) : NULL;
        ok = ok && arguments;
        if (ok && json_string_length(name) > SRV_TOOL_NAME_BYTES)
            ok = srv_trouble_set(t, "invalid_value", inner, "Invalid '%s.name': at most %d bytes.", inner, SRV_TOOL_NAME_BYTES);
        if (!ok) continue;
        if (i) fputs("; ", f);
        srv_call_write(f, json_string_value(name), json_string_value(arguments));
    }
    if (f) fclose(f);
    return ok && (*text || srv_trouble_set(t, NULL, NULL, "out of memory"));
}

/* The calls of a message of the assistant, where the model can be told of them; NULL: none. */
static const json_t *calls_of(const srv *server, const json_t *message)
{
    const json_t *calls = server->info->tools_prompt ? json_object_get(message, "tool_calls") : NULL;
    return json_is_null(calls) || (json_is_array(calls) && json_array_size(calls) == 0) ? NULL : calls;
}

/* The text of an earlier answer: its calls, its content, its refusal, or what was said under audio.id. *text is malloc'ed. */
static bool read_answer(const srv *server, const json_t *message, const char *path, srv_chat_question *q, char **text, srv_trouble *t)
{
    char inner[200];
    const json_t *content = json_object_get(message, "content"), *audio = json_object_get(message, "audio");
    const json_t *calls = calls_of(server, message);
    snprintf(inner, sizeof inner, "%.150s.tool_calls", path);
    if (calls) return read_calls(calls, inner, text, t);
    snprintf(inner, sizeof inner, "%.150s.content", path);
    if (content && !json_is_null(content)) return read_content(server, content, inner, false, true, q, text, t);
    *text = NULL;
    const char *refusal = json_string_value(json_object_get(message, "refusal"));
    if (!audio || json_is_null(audio)) return (*text = strdup(refusal ? refusal : "")) != NULL;
    snprintf(inner, sizeof inner, "%.150s.audio", path);
    const json_t *id = json_is_object(audio) ? srv_member(audio, inner, "id", JSON_STRING, t) : NULL;
    if (!json_is_object(audio)) return srv_trouble_set(t, "invalid_type", inner, "Invalid type for '%s': expected an object.", inner);
    if (!id) return false;
    const char *said = srv_answers_find(server->answers, json_string_value(id), (long long)time(NULL));
    if (said) return (*text = strdup(said)) != NULL;
    snprintf(inner, sizeof inner, "%.150s.audio.id", path);
    return srv_trouble_set(t, "invalid_value", inner, "There is no audio with id '%.60s', or it has expired.", json_string_value(id));
}

static bool check_message(const json_t *message, size_t i, srv_trouble *t)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    char path[100];
    snprintf(path, sizeof path, "messages[%zu]", i);
    if (!json_is_object(message)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected an object.", path);
    const json_t *role = srv_member(message, path, "role", JSON_STRING, t), *content = json_object_get(message, "content");
    if (!role) return false;
    bool known = false;
    for (size_t k = 0; k < 5; k++) known |= strcmp(roles[k], json_string_value(role)) == 0;
    snprintf(path, sizeof path, "messages[%zu].role", i);
    if (!known) return srv_trouble_set(t, "invalid_value", path, "Invalid value: '%.40s'.", json_string_value(role));
    snprintf(path, sizeof path, "messages[%zu].content", i);
    if (content && !json_is_string(content) && !json_is_array(content) && !json_is_null(content))
        return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected a string or an array, but got %s instead.", path, srv_json_kind(content));
    return true;
}

static bool has_role(const json_t *message, const char *role)
{
    return strcmp(json_string_value(json_object_get(message, "role")), role) == 0;
}

/* What a tool gave, as the model is told: *text becomes that. calls: of the last message of the assistant that had any. */
static bool name_output(const json_t *message, const json_t *calls, char **text, srv_trouble *t)
{
    const char *id = json_string_value(json_object_get(message, "tool_call_id")), *name = NULL;
    char *told = NULL;
    size_t size = 0, i;
    const json_t *call;
    json_array_foreach(calls, i, call) {
        const char *other = json_string_value(json_object_get(call, "id"));
        if (id && other && strcmp(id, other) == 0) name = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
    }
    FILE *f = open_memstream(&told, &size);
    if (f) {
        srv_output_write(f, name, *text);
        fclose(f);
    }
    free(*text);
    *text = told;
    return told || srv_trouble_set(t, NULL, NULL, "out of memory");
}

/* Asks the model something: the user does, and a tool's output where it can be told of one. */
static bool is_asking(const srv *server, const json_t *message)
{
    return has_role(message, "user") || (server->info->tools_prompt && has_role(message, "tool"));
}

/* One message of the user, the assistant or a tool into the past. */
static bool read_message(const srv *server, const json_t *message, size_t i, bool last, const json_t *calls, srv_chat_question *q, srv_trouble *t)
{
    char path[100], *text = NULL;
    bool ok = true;
    if (has_role(message, "assistant")) {
        snprintf(path, sizeof path, "messages[%zu]", i);
        ok = read_answer(server, message, path, q, &text, t);
        if (ok && *text) ok = srv_past_answer(&q->past, text) || srv_trouble_set(t, NULL, NULL, "out of memory");
    } else if (is_asking(server, message)) {
        const json_t *content = json_object_get(message, "content");
        snprintf(path, sizeof path, "messages[%zu].content", i);
        if (!content) return srv_trouble_set(t, "missing_required_parameter", path, "Missing required parameter: '%s'.", path);
        ok = read_content(server, content, path, last && has_role(message, "user"), false, q, &text, t);
        if (ok && has_role(message, "tool")) ok = name_output(message, calls, &text, t);
        if (ok) ok = srv_past_ask(&q->past, text) || srv_trouble_set(t, NULL, NULL, "out of memory");
    }
    free(text);
    return ok;
}

/* The question is the last message of the user or a tool, with typed ones right before it; what stands before is the past. Of
 * earlier spoken questions only the answers can be read. System messages change nothing: the prompt is the model's. */
static bool read_messages(const srv *server, const json_t *body, srv_chat_question *q, srv_trouble *t)
{
    char path[100];
    const json_t *messages = srv_member(body, "", "messages", JSON_ARRAY, t), *message, *calls = NULL;
    size_t i, end = 0;
    if (!messages) return false;
    json_array_foreach(messages, i, message) {
        if (!check_message(message, i, t)) return false;
        if (is_asking(server, message)) end = i + 1;
    }
    if (end == 0) return srv_trouble_set(t, "invalid_value", "messages", "'messages' has no message of the user.");
    for (i = 0; i < end; i++) {
        message = json_array_get(messages, i);
        if (!read_message(server, message, i, i == end - 1, calls, q, t)) return false;
        if (has_role(message, "assistant") && calls_of(server, message)) calls = calls_of(server, message);
    }
    const char *typed = q->past.question;
    snprintf(path, sizeof path, "messages[%zu].content", end - 1);
    if (!q->samples && (!typed || !typed[strspn(typed, " \t\r\n")] || strlen(typed) > SRV_TEXT_BYTES))
        return srv_trouble_set(t, "invalid_value", path, "'%s' has no question, or one of more than %d bytes.", path, SRV_TEXT_BYTES);
    q->params.keep_history = q->past.n > q->past.first;
    return true;
}

/* ---- the rest -------------------------------------------------------------------------------------- */

/* A member that is true or false; missing or null is false. path: where object is, "" at the top. */
static bool read_flag(const json_t *object, const char *path, const char *name, bool *out, srv_trouble *t)
{
    char inner[100];
    const json_t *v = json_object_get(object, name);
    *out = json_is_true(v);
    if (!v || json_is_null(v) || json_is_boolean(v)) return true;
    snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", name);
    return srv_trouble_set(t, "invalid_type", inner, "Invalid type for '%s': expected a boolean, but got %s instead.", inner, srv_json_kind(v));
}

static bool read_stream(const json_t *body, srv_chat_question *q, srv_trouble *t)
{
    const json_t *options = json_object_get(body, "stream_options");
    if (!read_flag(body, "", "stream", &q->stream, t)) return false;
    if (!options || json_is_null(options)) return true;
    return srv_member(body, "", "stream_options", JSON_OBJECT, t) && read_flag(options, "stream_options", "include_usage", &q->include_usage, t);
}

/* Nothing said is text. */
static bool read_modalities(const json_t *body, srv_chat_question *q, srv_trouble *t)
{
    const json_t *modalities = json_object_get(body, "modalities"), *word;
    char path[100];
    size_t i;
    if (!modalities || json_is_null(modalities)) return true;
    if (!srv_member(body, "", "modalities", JSON_ARRAY, t)) return false;
    json_array_foreach(modalities, i, word) {
        const char *name = json_is_string(word) ? json_string_value(word) : "";
        const bool speech = strcmp(name, "audio") == 0;
        snprintf(path, sizeof path, "modalities[%zu]", i);
        if (!json_is_string(word)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected a string, but got %s instead.", path, srv_json_kind(word));
        if (!speech && strcmp(name, "text") != 0) return srv_trouble_set(t, "invalid_value", path, "Invalid value: '%.40s'. Supported values are: 'text' and 'audio'.", name);
        q->speech |= speech;
    }
    return i > 0 || srv_trouble_set(t, "invalid_value", "modalities", "Invalid 'modalities': expected 'text', or 'text' and 'audio', but it is empty.");
}

static bool read_speech(const json_t *body, srv_chat_question *q, srv_trouble *t)
{
    static const char *const names[] = {[SRV_WAV] = "wav", [SRV_MP3] = "mp3", [SRV_FLAC] = "flac", [SRV_OPUS] = "opus", [SRV_RAW] = "pcm16"};
    if (!read_modalities(body, q, t)) return false;
    if (!q->speech) return true;
    const json_t *audio = srv_member(body, "", "audio", JSON_OBJECT, t);
    const json_t *format = audio ? srv_member(audio, "audio", "format", JSON_STRING, t) : NULL;
    if (!format) return false;
    int found = -1;
    for (int k = SRV_WAV; k <= SRV_RAW; k++)
        if (strcmp(names[k], json_string_value(format)) == 0) found = k;
    if (found < 0 || (q->stream && found != SRV_RAW))
        return srv_trouble_set(t, "unsupported_value", "audio.format",
                               q->stream ? "Unsupported value: '%.20s'. With stream=true only 'pcm16' is supported."
                                         : "Unsupported value: '%.20s'. Supported are 'wav', 'mp3', 'flac', 'opus' and 'pcm16'.", json_string_value(format));
    q->container = (srv_container)found;
    return true;
}

static bool read_number(const json_t *body, const char *name, bool whole, double low, double high, double *out, srv_trouble *t)
{
    const json_t *v = json_object_get(body, name);
    if (!v || json_is_null(v)) return true;
    if (!srv_number_ok(v, name, whole, low, high, t)) return false;
    *out = json_number_value(v);
    return true;
}

static const float least_top_p = 1e-6f;     /* of the likeliest token alone; the library wants more than 0 */

static bool read_numbers(const srv *server, const json_t *body, srv_chat_question *q, srv_trouble *t)
{
    double tokens = 0, temperature = q->params.temperature, top_p = q->params.top_p, n = 1, seed = -1;
    if (!read_number(body, "max_tokens", true, 1, 1e9, &tokens, t) || !read_number(body, "max_completion_tokens", true, 1, 1e9, &tokens, t) ||
        !read_number(body, "temperature", false, 0, 2, &temperature, t) || !read_number(body, "top_p", false, 0, 1, &top_p, t) ||
        !read_number(body, "seed", true, -9e15, 9e15, &seed, t) || !read_number(body, "n", true, 1, 128, &n, t))
        return false;
    if (n > 1) return srv_trouble_set(t, "unsupported_value", "n", "One choice per request is supported.");
    if (tokens > 0 && tokens < server->options->max_tokens) q->params.max_tokens = (int)tokens;
    if (json_is_number(json_object_get(body, "temperature"))) q->params.temperature = (float)temperature;
    q->params.top_p = (float)top_p > least_top_p ? (float)top_p : least_top_p;
    if (seed >= 0) q->params.seed = (uint32_t)((uint64_t)seed & 0x7FFFFFFFu);
    return true;
}

/* As SETTINGS_BYTES bounds those of a session: what the model is told has to be below the library's 1 MiB. */
static bool read_tools(const srv *server, const json_t *body, srv_chat_question *q, srv_trouble *t)
{
    const json_t *tools = json_object_get(body, "tools"), *choice = json_object_get(body, "tool_choice");
    if (json_is_null(tools)) tools = NULL;
    if (json_is_null(choice)) choice = NULL;
    if (tools && !srv_tools_ok(tools, "tools", true, t)) return false;
    if (tools && json_dumpb(tools, NULL, 0, JSON_COMPACT) > SRV_SETTINGS_BYTES)
        return srv_trouble_set(t, "string_above_max_length", "tools", "Invalid 'tools': at most %d bytes of JSON in all.", SRV_SETTINGS_BYTES);
    if (choice && !srv_tool_choice_ok(choice, "tool_choice", t)) return false;
    if (!server->info->tools_prompt) return true;
    q->tools = srv_tools_offered(tools, choice);
    q->one_call = json_is_false(json_object_get(body, "parallel_tool_calls"));
    if (json_is_object(choice) && !q->tools)
        return srv_trouble_set(t, "invalid_value", "tool_choice", "Invalid 'tool_choice': there is no such function in 'tools'.");
    srv_tools_tell(tools, choice, server->info->tools_prompt, &q->params);
    return true;
}

static bool read_body(const srv *server, const json_t *body, srv_chat_question *q, srv_trouble *t, unsigned *status)
{
    const json_t *model = json_object_get(body, "model");
    if (model && !json_is_string(model)) return srv_member(body, "", "model", JSON_STRING, t) != NULL;
    if (model && !srv_model_ok(server, json_string_value(model))) {
        *status = 404;
        return srv_trouble_set(t, "model_not_found", "model", "The model '%.100s' does not exist.", json_string_value(model));
    }
    q->params = srv_session_params(server);
    q->params.keep_history = false;
    if (!read_stream(body, q, t) || !read_speech(body, q, t) || !read_numbers(server, body, q, t)) return false;
    q->params.speech = q->speech;
    return read_tools(server, body, q, t) && read_messages(server, body, q, t);
}

bool srv_chat_read(const srv *server, const char *text, size_t n, srv_chat_question *q, srv_trouble *t, unsigned *status)
{
    *status = 400;
    *q = (srv_chat_question){.samples = NULL};
    char why[JSON_ERROR_TEXT_LENGTH];
    json_t *body = srv_json_load(text, n, 0, why);
    bool ok = json_is_object(body);
    if (ok) ok = read_body(server, body, q, t, status);
    else srv_trouble_set(t, NULL, NULL, "The body could not be read as a JSON object: %s.", body ? "it is an array" : why);
    json_decref(body);
    if (!ok) srv_chat_question_free(q);
    return ok;
}
