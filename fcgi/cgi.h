/* Plain CGI: one request in the environment and on standard input, its answer on standard output. */
#ifndef DW_FCGI_CGI_H
#define DW_FCGI_CGI_H

#include "base/conf.h"
#include "base/err.h"

/* Serves the request that `env` describes and returns the program's exit status. */
int dw_cgi_run(struct dw_conf *conf, char *const *env);

/* The answer where there are no settings to serve with: 500; returns the program's exit status.  Without an
 * answer of its own the web server shows a page that tells nobody where to look. */
int dw_cgi_refuse(void);

#endif
