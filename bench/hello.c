/* The peer of bench/requests and bench/cgi: the smallest responder that libfcgi makes possible.  It reads
 * nothing, knows nothing, and says as much as a handshake's answer. */
#include <fcgiapp.h>

#include <stdio.h>

#define ANSWER                                                                                                         \
    "Status: 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n"                         \
    "Content-Length: 41\r\n\r\n[[:chsk/handshake [\"hello\" nil nil true]]"

int main(void)
{
    FCGX_Request request;

    if (FCGX_IsCGI())
        return fputs(ANSWER, stdout) < 0;
    if (FCGX_Init() != 0 || FCGX_InitRequest(&request, 0, 0) != 0)
        return 1;
    while (FCGX_Accept_r(&request) == 0) {
        (void)FCGX_PutS(ANSWER, request.out);
        FCGX_Finish_r(&request);
    }
    return 0;
}
