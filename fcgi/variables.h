/* CGI variables to a request: the same for plain CGI (the environment) and FastCGI (its parameters).
 * RFC 3875 section 4.1. */
#ifndef DW_FCGI_VARIABLES_H
#define DW_FCGI_VARIABLES_H

#include "hub/request.h"

/* What a client is told when the settings or the queue can't be used. */
#define DW_NOT_SET_UP "Dumbwaiter is not set up right; its log says why"

/* Fills `request` from an environment block; the strings stay the block's.  The body is the caller's. */
void dw_variables_request(char *const *env, struct dw_request *request);

/* CONTENT_LENGTH; 0 where it is missing or no number, SIZE_MAX where it is too large to say. */
size_t dw_variables_content_length(char *const *env);

/* The value of `name`, or NULL. */
const char *dw_variables_get(char *const *env, const char *name);

#endif
