/* printable: control characters out, length bounded. */
#include "printable.h"

#include <string.h>

om_printable om_printable_of(const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    const size_t most = sizeof((om_printable *)0)->text - 4;
    om_printable p = {""};
    size_t i;

    for (i = 0; i < n && i < most; i++)
        p.text[i] = from[i] < 0x20 || from[i] == 0x7F ? '?' : (char)from[i];
    if (i < n)
        memcpy(p.text + i, "...", 3);
    return p;
}
