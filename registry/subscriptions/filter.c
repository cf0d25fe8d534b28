#include "registry/subscriptions/filter.h"

#include "lib/ebrim/vocabulary.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/read.h"

#define SHOWN_MAX ((size_t)200)

/* ---- topics.def ---- */

static const struct {
    Str text;
    ObjectKind objects;
    NoticeContent content;
} topics[TOPIC_COUNT] = {
#define TOPIC(name, text, objects, content) {STR_INIT(text), objects, content},
#include "registry/subscriptions/topics.def"
#undef TOPIC
};

Str topic_text(Topic topic)
{
    return topics[topic].text;
}

ObjectKind topic_objects(Topic topic)
{
    return topics[topic].objects;
}

NoticeContent topic_content(Topic topic)
{
    return topics[topic].content;
}

Topic topic_find(Str text)
{
    size_t i = 0;
    while (i < TOPIC_COUNT && !str_equal(topics[i].text, text)) {
        i++;
    }
    return (Topic)i;
}

/* ---- filters.def ---- */

#define END_OF_PARAMETERS                                                                          \
    {                                                                                              \
        .name = { NULL, 0 }                                                                        \
    }
#define ROW(name, need, how_many, form, object, attribute)                                         \
    {STR_INIT(name), NEED_##need, MANY_##how_many, FORM_##form, FIELD_##object##_##attribute},

static const QueryParameter document_parameters[] = {
#define DOCUMENT_PARAM ROW
#include "registry/subscriptions/filters.def"
    END_OF_PARAMETERS};

static const QueryParameter set_parameters[] = {
#define SET_PARAM ROW
#include "registry/subscriptions/filters.def"
    END_OF_PARAMETERS};

static const struct {
    Query query;
    ObjectKind objects;
} filters[] = {
#define FILTER(filter_id, filter_name, kind, list, has_patient)                                    \
    {.query = {.id = STR_INIT(filter_id),                                                          \
               .name = STR_INIT(filter_name),                                                      \
               .patients = QUERY_ANY_PATIENTS,                                                     \
               .parameters = &(list)[1 - (has_patient)]},                                          \
     .objects = (kind)},
#include "registry/subscriptions/filters.def"
};

/* ---- reading ---- */

static Str shown(Arena *arena, Str text)
{
    return str_printable(arena, str_slice(text, 0, SHOWN_MAX));
}

/** Every topic, for an error text. */
static Str topic_list(Arena *arena)
{
    StrBuf list = {0};
    for (size_t i = 0; i < TOPIC_COUNT; i++) {
        strbuf_append(&list, i == 0 ? STR_EMPTY : STR(", "));
        strbuf_append(&list, topics[i].text);
    }
    Str text = str_dup(arena, strbuf_str(&list));
    strbuf_done(&list);
    return text;
}

/** An NCName with or without a prefix: what the Simple dialect allows (WS-Topics 1.3 section 8.1).
 */
static bool is_simple_topic(Str text)
{
    size_t colons = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_start = i == 0 || text.data[i - 1] == ':';
        bool is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c >= 0x80;
        bool is_inner = (c >= '0' && c <= '9') || c == '-' || c == '.';
        colons += c == ':';
        if (!is_letter && (is_start || (!is_inner && c != ':'))) {
            return false;
        }
    }
    return text.len > 0 && colons <= 1 && text.data[text.len - 1] != ':';
}

static int read_topic(Request *req, const XmlNode *filter, Topic *ret_topic)
{
    const XmlNode *expression = xml_child(filter, NS_WSNT, "TopicExpression");
    if (expression == NULL || xml_next(expression, NS_WSNT, "TopicExpression") != NULL) {
        return error_add(&req->errors, ERR_WSN_INVALID_FILTER, "wsnt:Filter",
                         "the wsnt:Filter needs exactly one wsnt:TopicExpression; the topics are "
                         "%.*s",
                         STR_ARG(topic_list(req->arena)));
    }
    Str dialect = str_trim(xml_attribute(expression, "Dialect"));
    Str text = str_trim(expression->text);
    if (!str_equal(dialect, STR(TOPIC_DIALECT_SIMPLE))) {
        return error_add(
            &req->errors, ERR_WSN_TOPIC_DIALECT_UNKNOWN, "TopicExpression/@Dialect",
            "the Dialect of the wsnt:TopicExpression is \"%.*s\"; send " TOPIC_DIALECT_SIMPLE,
            STR_ARG(shown(req->arena, dialect)));
    }
    if (!is_simple_topic(text) || expression->first_child != NULL) {
        return error_add(&req->errors, ERR_WSN_INVALID_TOPIC, "TopicExpression",
                         "the wsnt:TopicExpression \"%.*s\" is no name, as the Simple dialect "
                         "wants it; the topics are %.*s",
                         STR_ARG(shown(req->arena, text)), STR_ARG(topic_list(req->arena)));
    }
    Topic topic = topic_find(text);
    if (topic == TOPIC_COUNT) {
        return error_add(&req->errors, ERR_WSN_TOPIC_NOT_SUPPORTED, "TopicExpression",
                         "the topic \"%.*s\" is not offered here; the topics are %.*s",
                         STR_ARG(shown(req->arena, text)), STR_ARG(topic_list(req->arena)));
    }
    *ret_topic = topic;
    return 0;
}

/** A parameter that were ignored would have the consumer told of more than was asked for. */
static int check_slots(Request *req, const XmlNode *adhoc_query, const Query *query)
{
    for (const XmlNode *slot = xml_child(adhoc_query, NS_RIM, "Slot"); slot != NULL;
         slot = xml_next(slot, NS_RIM, "Slot")) {
        Str name = xml_attribute(slot, "name");
        const QueryParameter *parameter = query->parameters;
        while (parameter->name.len > 0 && !str_equal(parameter->name, name)) {
            parameter++;
        }
        if (parameter->name.len == 0) {
            return error_add(&req->errors, ERR_WSN_INVALID_FILTER, "rim:AdhocQuery",
                             "%.*s has no parameter \"%.*s\" (ITI TF-2 3.52.5.2); leave the Slot "
                             "out",
                             STR_ARG(query->name), STR_ARG(shown(req->arena, name)));
        }
    }
    return 0;
}

/** What is wrong with a parameter makes an invalid filter, in the words of a stored query. */
static int read_parameters(Request *req, const XmlNode *adhoc_query, const Query *query,
                           QueryRequest **ret_request)
{
    Request reading = *req;
    error_list_init(&reading.errors, req->arena);
    int rc = query_values_read(&reading, adhoc_query, query, ret_request);
    for (const Error *error = reading.errors.first; error != NULL; error = error->next) {
        error_add_str(&req->errors, ERR_WSN_INVALID_FILTER, SEVERITY_ERROR, error->location,
                      error->context);
    }
    return rc < 0 ? -(int)ERR_WSN_INVALID_FILTER : 0;
}

static int read_query(Request *req, SubscriptionFilter *filter)
{
    Str id = str_trim(xml_attribute(filter->adhoc_query, "id"));
    size_t i = 0;
    while (i < ARRAY_LEN(filters) && !str_equal_ci(filters[i].query.id, id)) {
        i++;
    }
    if (i == ARRAY_LEN(filters)) {
        return error_add(&req->errors, ERR_WSN_INVALID_FILTER, "AdhocQuery/@id",
                         "there is no filter \"%.*s\"; send %s for DocumentEntries or %s for "
                         "SubmissionSets of a patient (ITI TF-2 3.52.5.2)",
                         STR_ARG(shown(req->arena, id)), filters[0].query.id.data,
                         filters[2].query.id.data);
    }
    if (filters[i].objects != topic_objects(filter->topic)) {
        return error_add(&req->errors, ERR_WSN_INVALID_FILTER, "AdhocQuery/@id",
                         "the topic %.*s does not go with %.*s (ITI TF-2 Table 3.52.5.3-1)",
                         STR_ARG(topic_text(filter->topic)), STR_ARG(filters[i].query.name));
    }
    int rc = check_slots(req, filter->adhoc_query, &filters[i].query);
    rc = rc < 0 ? rc
                : read_parameters(req, filter->adhoc_query, &filters[i].query, &filter->request);
    if (rc == 0) {
        const QueryValue *patient = &filter->request->values[FIELD_Patient_patient_id];
        filter->patient = patient->count > 0 ? patient->texts[0] : STR_EMPTY;
    }
    return rc;
}

int subscription_filter_read(Request *req, const XmlNode *filter, SubscriptionFilter *ret_filter)
{
    SubscriptionFilter read = {0};
    int rc = read_topic(req, filter, &read.topic);
    if (rc < 0) {
        return rc;
    }
    read.adhoc_query = xml_child(filter, NS_RIM, "AdhocQuery");
    size_t children = 0;
    for (const XmlNode *child = filter->first_child; child != NULL; child = child->next) {
        children++;
    }
    if (read.adhoc_query == NULL || children != 2) {
        return error_add(&req->errors, ERR_WSN_INVALID_FILTER, "wsnt:Filter",
                         "the wsnt:Filter needs one wsnt:TopicExpression and one rim:AdhocQuery, "
                         "and nothing else");
    }
    rc = read_query(req, &read);
    if (rc == 0) {
        *ret_filter = read;
    }
    return rc;
}

int subscription_filter_restore(Request *req, Topic topic, Str adhoc_query,
                                SubscriptionFilter *ret_filter)
{
    XmlNode *root;
    int rc = xml_read(req, adhoc_query, &root);
    if (rc < 0) {
        return rc;
    }
    SubscriptionFilter filter = {.topic = topic, .adhoc_query = root};
    rc = read_query(req, &filter);
    if (rc == 0) {
        *ret_filter = filter;
    }
    return rc;
}
