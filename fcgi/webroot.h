/* Is the queue file where the web server hands it out?  It holds every session, so anybody could be anybody. */
#ifndef DW_FCGI_WEBROOT_H
#define DW_FCGI_WEBROOT_H

#include "base/conf.h"

/* Compares store.path with the DOCUMENT_ROOT of a request (CGI: of the environment), links resolved.  DW_CONF when
 * the file would be made in there only because nobody has said where: then it must not be made at all.  Where
 * somebody did say so, he may have had no other place: DW_OK, but an error is logged.  Without DOCUMENT_ROOT: DW_OK. */
int dw_webroot_check(const struct dw_conf *conf, char *const *env, struct dw_err *err);

#endif
