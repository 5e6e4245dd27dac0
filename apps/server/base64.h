/* base64: the standard alphabet; decoding takes it with or without padding and skips ASCII white space. */
#ifndef SRV_BASE64_H
#define SRV_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Letters that n bytes give, padding included; without a NUL. */
size_t srv_base64_letters(size_t n);
/* Writes srv_base64_letters(n) letters and a NUL. */
void   srv_base64_encode(const uint8_t *bytes, size_t n, char *text);

/* Most bytes that n letters give. */
size_t srv_base64_room(size_t n);
/* false: not base64 (an alien letter, data after padding, a single left-over letter, bits beyond the last byte).
 * out has srv_base64_room(n) bytes. */
bool   srv_base64_decode(const char *text, size_t n, uint8_t *out, size_t *n_out);

#endif
