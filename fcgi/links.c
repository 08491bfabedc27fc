/* Lists of connections in the order of their deadlines. */
#include "fcgi/server_internal.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Every link of a list gets the same time, so its end is the place for the latest deadline. */
void dw_links_add(struct dw_links *list, struct dw_link *link)
{
    link->next = NULL;
    link->prev = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = link;
    list->last = link;
}

void dw_links_remove(struct dw_links *list, struct dw_link *link)
{
    *(link->prev != NULL ? &link->prev->next : &list->first) = link->next;
    *(link->next != NULL ? &link->next->prev : &list->last) = link->prev;
}

void dw_link_free(struct dw_link *link)
{
    dw_buf_fini(&link->in.bytes);
    dw_buf_fini(&link->out);
    free(link);
}

unsigned dw_links_close_overdue(struct dw_links *list, int epoll_fd, int64_t now_ms)
{
    struct dw_link *link, *next;
    unsigned closed = 0;

    for (link = list->first; link != NULL && link->deadline_ms <= now_ms; link = next) {
        next = link->next;
        dw_links_remove(list, link);
        if (epoll_fd >= 0) /* closing alone is not enough while another process has a copy (handover.c) */
            (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, link->descriptor, NULL);
        (void)close(link->descriptor);
        dw_link_free(link);
        closed++;
    }
    return closed;
}

int64_t dw_links_deadline(const struct dw_links *list)
{
    return list->first != NULL ? list->first->deadline_ms : INT64_MAX;
}
