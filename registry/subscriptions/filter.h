#pragma once

#include "registry/query_parameters.h"

/**
 * What a subscription is about: its topic, and the stored query parameters that objects have to
 * match.
 *
 * Spec: ITI TF-2 3.52.4.1.2, 3.52.5.2, 3.52.5.3.
 */

/** Rows of topics.def. */
typedef enum Topic {
#define TOPIC(name, text, objects, content) TOPIC_##name,
#include "registry/subscriptions/topics.def"
#undef TOPIC
    TOPIC_COUNT
} Topic;

#define TOPIC_DIALECT_SIMPLE "http://docs.oasis-open.org/wsn/t-1/TopicExpression/Simple"

typedef enum NoticeContent { NOTICE_OBJECTS, NOTICE_REFERENCES } NoticeContent;

Str topic_text(Topic topic);
ObjectKind topic_objects(Topic topic);
NoticeContent topic_content(Topic topic);
/** @return TOPIC_COUNT if there is none of this text */
Topic topic_find(Str text);

typedef struct SubscriptionFilter {
    Topic topic;
    const XmlNode *adhoc_query; /* as sent */
    QueryRequest *request;
    Str patient; /* CX; empty: independent of the patient */
} SubscriptionFilter;

/**
 * Reads a wsnt:Filter.
 * @param filter  NULL: the message has none
 * @return 0, or what is wrong with it in req->errors: WSN_INVALID_FILTER,
 * WSN_TOPIC_DIALECT_UNKNOWN, WSN_INVALID_TOPIC, WSN_TOPIC_NOT_SUPPORTED
 */
int subscription_filter_read(Request *req, const XmlNode *filter,
                             SubscriptionFilter *ret_filter) MUST_CHECK;

/** The filter of a stored subscription. @param adhoc_query  its XML */
int subscription_filter_restore(Request *req, Topic topic, Str adhoc_query,
                                SubscriptionFilter *ret_filter) MUST_CHECK;
