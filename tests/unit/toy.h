/* The toy model in f32, loaded once for a whole test program: group fixtures. */
#ifndef TOY_H
#define TOY_H

#include "unit/conversation.h"

static omni_model *model;

static int load(void **state)
{
    (void)state;
    model = load_toy("", true);     /* f32: batches of other sizes must not tip a decision */
    return 0;
}

static int unload(void **state)
{
    (void)state;
    omni_model_free(model);
    return 0;
}

#endif
