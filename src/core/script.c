/* script: see script.h. Rows are kept because dropping old turns means reading the rest again. */
#include "core/script.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

enum { MOST = 1 << 24 };    /* positions; far beyond any context */

/* Room for n elements of size bytes in *block. */
static int grow(void **block, int *cap, int n, size_t size)
{
    int wanted = *cap ? *cap : 64;
    void *bigger;

    if (n <= *cap)
        return OMNI_OK;
    if (n > MOST)
        return om_fail(OMNI_ERR_LIMIT, "the conversation has more than %d positions", MOST);
    while (wanted < n)
        wanted *= 2;
    bigger = om_realloc(*block, (size_t)wanted, size);
    if (!bigger)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a conversation of %d positions", n);
    *block = bigger;
    *cap = wanted;
    return OMNI_OK;
}

static int grow_ids(om_script *s, int more)
{
    void *block = s->ids;
    int rc = grow(&block, &s->cap, s->n + more, sizeof *s->ids);

    s->ids = block;
    return rc;
}

void om_script_free(om_script *s)
{
    om_free(s->ids);
    om_free(s->rows);
    om_free(s->turns);
    *s = (om_script){ .width = s->width };
}

int om_script_begin_turn(om_script *s, uint32_t number)
{
    void *block = s->turns;
    int rc = grow(&block, &s->cap_turns, s->n_turns + 1, sizeof *s->turns);

    s->turns = block;
    if (!rc)
        s->turns[s->n_turns++] = (om_mark){ s->n, number };
    return rc;
}

int om_script_add_ids(om_script *s, const int32_t *ids, int n)
{
    int rc = grow_ids(s, n);

    if (rc)
        return rc;
    if (n)
        memcpy(s->ids + s->n, ids, (size_t)n * sizeof *ids);
    s->n += n;
    return OMNI_OK;
}

int om_script_add_rows(om_script *s, const float *rows, int n)
{
    size_t row = (size_t)s->width * sizeof *rows;
    void *block = s->rows;
    int rc = grow_ids(s, n);

    if (!rc) {
        rc = grow(&block, &s->cap_rows, s->n_rows + n, row);
        s->rows = block;
    }
    if (rc)
        return rc;
    memcpy(s->rows + (size_t)s->n_rows * (size_t)s->width, rows, (size_t)n * row);
    for (int i = 0; i < n; i++)
        s->ids[s->n + i] = OM_ROW;
    s->n += n;
    s->n_rows += n;
    return OMNI_OK;
}

/* Rows that stand before position `at`. */
static int rows_before(const om_script *s, int at)
{
    int n = 0;

    for (int i = 0; i < at; i++)
        n += s->ids[i] == OM_ROW;
    return n;
}

void om_script_cut(om_script *s, int n)
{
    if (n >= s->n)
        return;
    s->n_rows = rows_before(s, n);
    s->n = n;
    while (s->n_turns > 0 && s->turns[s->n_turns - 1].at >= n)
        s->n_turns--;
}

int om_script_find(const om_script *s, uint32_t number)
{
    for (int i = 0; i < s->n_turns; i++)
        if (s->turns[i].number == number)
            return i;
    return -1;
}

void om_script_drop(om_script *s, int turn)
{
    int from = s->turns[turn].at, to = s->turns[turn + 1].at, gone = to - from;
    int row_from = rows_before(s, from), row_to = rows_before(s, to);
    size_t width = (size_t)s->width;

    memmove(s->ids + from, s->ids + to, (size_t)(s->n - to) * sizeof *s->ids);
    if (s->n_rows > row_to)
        memmove(s->rows + (size_t)row_from * width, s->rows + (size_t)row_to * width,
                (size_t)(s->n_rows - row_to) * width * sizeof *s->rows);
    s->n -= gone;
    s->n_rows -= row_to - row_from;
    s->n_turns--;
    for (int i = turn; i < s->n_turns; i++)
        s->turns[i] = (om_mark){ s->turns[i + 1].at - gone, s->turns[i + 1].number };
}

int om_script_run(const om_script *s, int from, int limit, const int32_t **ids, const float **rows)
{
    int is_row = s->ids[from] == OM_ROW, n = 1;

    while (n < limit && from + n < s->n && (s->ids[from + n] == OM_ROW) == is_row)
        n++;
    *ids = is_row ? NULL : s->ids + from;
    *rows = is_row ? s->rows + (size_t)rows_before(s, from) * (size_t)s->width : NULL;
    return n;
}
