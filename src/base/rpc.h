/*
 * rpc.h - devices of other machines, lent by ggml's RPC server (ggml-rpc-server).
 *
 * ggml's client ends the process when a server can not be reached or speaks something else. So each server is
 * asked for its version first, over a connection of our own; what goes wrong later still ends the process.
 * Neither side proves who it is, and nothing is encrypted: see docs/deploy.md.
 */
#ifndef OM_RPC_H
#define OM_RPC_H

#include <stdbool.h>

enum { OM_RPC_DEVICES = 32 };

/* list: "HOST:PORT", several with commas. Fills devices with every server's, in this order, then the GPUs of this
 * machine, then NULL: what llama_model_params.devices wants. They live as long as the process.
 * ERR_ARG: not such a list. ERR_BACKEND: built without RPC; a server is not there, is in use, or is something else.
 * ERR_LIMIT: more than OM_RPC_DEVICES - 1 devices. */
int om_rpc_devices(const char *list, void *devices[OM_RPC_DEVICES]);

#endif
