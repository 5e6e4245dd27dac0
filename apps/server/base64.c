/* base64: see base64.h. */
#include "base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t srv_base64_letters(size_t n)
{
    return (n + 2) / 3 * 4;
}

void srv_base64_encode(const uint8_t *bytes, size_t n, char *text)
{
    for (; n >= 3; n -= 3, bytes += 3) {
        *text++ = letters[bytes[0] >> 2];
        *text++ = letters[(bytes[0] & 3) << 4 | bytes[1] >> 4];
        *text++ = letters[(bytes[1] & 15) << 2 | bytes[2] >> 6];
        *text++ = letters[bytes[2] & 63];
    }
    if (n) {
        *text++ = letters[bytes[0] >> 2];
        *text++ = letters[(bytes[0] & 3) << 4 | (n == 2 ? bytes[1] >> 4 : 0)];
        *text++ = n == 2 ? letters[(bytes[1] & 15) << 2] : '=';
        *text++ = '=';
    }
    *text = 0;
}

size_t srv_base64_room(size_t n)
{
    return n / 4 * 3 + 3;
}

enum { ALIEN = 64, SPACE = 65, PADDING = 66 };

static uint8_t value_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z') return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9') return (uint8_t)(c - '0' + 52);
    if (c == '+') return 62;
    if (c == '/') return 63;
    if (c == '=') return PADDING;
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' ? SPACE : ALIEN;
}

bool srv_base64_decode(const char *text, size_t n, uint8_t *out, size_t *n_out)
{
    uint32_t bits = 0;
    size_t have = 0, made = 0, padding = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t v = value_of((unsigned char)text[i]);
        if (v == SPACE) continue;
        if (v == PADDING) {
            if (++padding > 2) return false;
            continue;
        }
        if (v == ALIEN || padding) return false;
        bits = bits << 6 | v;
        if (++have < 4) continue;
        out[made++] = (uint8_t)(bits >> 16);
        out[made++] = (uint8_t)(bits >> 8);
        out[made++] = (uint8_t)bits;
        have = 0, bits = 0;
    }
    if (have == 1 || (padding && have + padding != 4)) return false;
    if (have == 2) {
        if (bits & 15) return false;
        out[made++] = (uint8_t)(bits >> 4);
    }
    if (have == 3) {
        if (bits & 3) return false;
        out[made++] = (uint8_t)(bits >> 10);
        out[made++] = (uint8_t)(bits >> 2);
    }
    *n_out = made;
    return true;
}
