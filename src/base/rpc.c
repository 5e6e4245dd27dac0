/* rpc: see rpc.h. */
#include "base/rpc.h"

#include "base/log.h"
#include "base/status.h"

#include "ggml-backend.h"
#include "ggml-rpc.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 5000, HOST_BYTES = 256 };

typedef struct endpoint { char text[HOST_BYTES + 8], host[HOST_BYTES], port[6]; } endpoint;

/* ---- the list ------------------------------------------------------------------ */

/* The next of list, which is moved behind it. */
static int next_endpoint(const char **list, endpoint *e)
{
    size_t n = strcspn(*list, ","), n_host = strcspn(*list, ":,"), n_port, n_all = strlen(*list);
    const char *port = *list + n_host + 1;
    long number;

    n_port = n > n_host ? n - n_host - 1 : 0;
    if (n_host < 1 || n_host >= HOST_BYTES || n_port < 1 || n_port >= sizeof e->port ||
        strspn(port, "0123456789") != n_port || n_all == n + 1)
        return om_fail(OMNI_ERR_ARG, "RPC servers: found '%s', wanted HOST:PORT, several with commas", *list);
    number = strtol(port, NULL, 10);
    if (number < 1 || number > 65535)
        return om_fail(OMNI_ERR_ARG, "RPC servers: port %ld in '%.*s', wanted 1..65535", number, (int)n, *list);
    snprintf(e->text, sizeof e->text, "%.*s", (int)n, *list);
    snprintf(e->host, sizeof e->host, "%.*s", (int)n_host, *list);
    snprintf(e->port, sizeof e->port, "%ld", number);
    *list += n;
    if (**list == ',')
        ++*list;
    return OMNI_OK;
}

/* ---- is it there, and what is it? ------------------------------------------------ */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits for events on fd until the clock shows until: false when the time is over. */
static bool ready(int fd, short events, int64_t until)
{
    struct pollfd p = { .fd = fd, .events = events };
    int64_t left;
    int n;

    do {
        left = until - now_ms();
        n = poll(&p, 1, left > 0 ? (int)left : 0);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

/* A connected socket, or -1 with errno set. */
static int connect_to(const struct addrinfo *address, int64_t until)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), trouble = 0;
    socklen_t n = sizeof trouble;

    if (fd < 0)
        return -1;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    trouble = errno;
    if (trouble == EINPROGRESS) {
        trouble = ETIMEDOUT;
        if (ready(fd, POLLOUT, until))
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &trouble, &n);
    }
    if (trouble == 0)
        return fd;
    close(fd);
    errno = trouble;
    return -1;
}

/* HELLO, as every version of the protocol knows it: one byte 14, the size of what follows in 8 bytes, 24 bytes
 * of abilities (none); answered by 8 bytes of size, three of version, one free, 24 of abilities. */
static int say_hello(int fd, const char *name, int64_t until)
{
    const uint8_t hello[1 + 8 + 24] = { 14, 24 };
    uint8_t answer[8 + 4 + 24];
    size_t have = 0;

    if (send(fd, hello, sizeof hello, MSG_NOSIGNAL) != (ssize_t)sizeof hello)
        return om_fail(OMNI_ERR_BACKEND, "RPC server %s: %s", name, strerror(errno));
    while (have < sizeof answer) {
        ssize_t n;

        if (!ready(fd, POLLIN, until))
            return om_fail(OMNI_ERR_BACKEND,
                           "RPC server %s takes the connection but does not answer: it serves one client at a time; "
                           "is another one using it?", name);
        n = recv(fd, answer + have, sizeof answer - have, 0);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    if (have < sizeof answer || answer[0] != sizeof answer - 8 || memcmp(answer + 1, "\0\0\0\0\0\0", 7) != 0)
        return om_fail(OMNI_ERR_BACKEND, "%s is no RPC server: start ggml-rpc-server there", name);
    if (answer[8] != RPC_PROTO_MAJOR_VERSION || answer[9] > RPC_PROTO_MINOR_VERSION)
        return om_fail(OMNI_ERR_BACKEND,
                       "RPC server %s speaks version %d.%d of the protocol, wanted %d.%d: build both sides of the "
                       "same llama.cpp", name, answer[8], answer[9], RPC_PROTO_MAJOR_VERSION, RPC_PROTO_MINOR_VERSION);
    return OMNI_OK;
}

static int visit_server(const endpoint *e)
{
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found = NULL;
    int64_t until = now_ms() + WAIT_MS;
    int rc = getaddrinfo(e->host, e->port, &hints, &found), fd;

    if (rc)
        return om_fail(OMNI_ERR_BACKEND, "RPC server %s: %s", e->text, gai_strerror(rc));
    fd = connect_to(found, until);
    freeaddrinfo(found);
    if (fd < 0)
        return om_fail(OMNI_ERR_BACKEND, "RPC server %s: %s; is ggml-rpc-server running there?", e->text,
                       strerror(errno));
    rc = say_hello(fd, e->text, until);
    close(fd);
    return rc;
}

/* ---- devices --------------------------------------------------------------------- */

typedef ggml_backend_reg_t add_server(const char *name);

/* Through the registry, as ggml may have been built without it. */
static add_server *find_add_server(void)
{
    ggml_backend_reg_t reg = ggml_backend_reg_by_name("RPC");
    void *found = reg ? ggml_backend_reg_get_proc_address(reg, "ggml_backend_rpc_add_server") : NULL;
    add_server *add = NULL;

    memcpy(&add, &found, sizeof add);   /* C knows no cast from object to function */
    return add;
}

static int too_many(void)
{
    return om_fail(OMNI_ERR_LIMIT, "RPC servers: more than %d devices in all", OM_RPC_DEVICES - 1);
}

/* Not ggml_backend_register: the speech stages, which look for a GPU there, stay on this machine. */
static int add_devices(ggml_backend_reg_t server, void **devices, size_t *n)
{
    for (size_t i = 0; i < ggml_backend_reg_dev_count(server); i++) {
        if (*n + 1 >= OM_RPC_DEVICES)
            return too_many();
        devices[(*n)++] = ggml_backend_reg_dev_get(server, i);
    }
    return OMNI_OK;
}

static int add_gpus(void **devices, size_t *n)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);

        if (ggml_backend_dev_type(dev) != GGML_BACKEND_DEVICE_TYPE_GPU)
            continue;
        if (*n + 1 >= OM_RPC_DEVICES)
            return too_many();
        devices[(*n)++] = dev;
    }
    return OMNI_OK;
}

int om_rpc_devices(const char *list, void *devices[OM_RPC_DEVICES])
{
    add_server *add;
    size_t n = 0;
    int rc = OMNI_OK;

    om_log_capture();
    add = find_add_server();
    do {
        endpoint e;
        ggml_backend_reg_t server = NULL;

        rc = next_endpoint(&list, &e);
        if (!rc && !add)
            rc = om_fail(OMNI_ERR_BACKEND, "RPC server %s: this llama.cpp has no RPC backend; build with OMNI_RPC=ON",
                         e.text);
        if (!rc)
            rc = visit_server(&e);
        if (!rc)
            server = add(e.text);
        if (!rc && !server)
            rc = om_fail(OMNI_ERR_BACKEND, "RPC server %s has no devices", e.text);
        if (!rc)
            rc = add_devices(server, devices, &n);
    } while (!rc && *list);
    if (!rc)
        rc = add_gpus(devices, &n);
    devices[rc ? 0 : n] = NULL;
    return rc;
}
