-- Document Metadata Subscription (ITI TF-2 3.52 to 3.54). Locks: none, new tables only.

CREATE SEQUENCE subscription_order;
COMMENT ON SEQUENCE subscription_order IS 'of subscriptions and events: a subscription is told of the events that come after it';

CREATE TABLE subscription (
    id              bigint PRIMARY KEY DEFAULT nextval('subscription_order'),
    reference       uuid NOT NULL UNIQUE,
    address         text NOT NULL,
    node            integer NOT NULL,
    consumer        text NOT NULL,
    topic           text NOT NULL,
    filter          text NOT NULL,
    patient         text NOT NULL,
    user_texts      text[] NOT NULL,
    user_roles      text[] NOT NULL,
    user_purposes   text[] NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    ends_at         timestamptz,
    delivered_at    timestamptz,
    delivered_count bigint NOT NULL DEFAULT 0,
    attempts        integer NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    last_failure    text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN subscription.reference IS 'what makes its address unique';
COMMENT ON COLUMN subscription.address IS 'at which the subscriber called us; with ?subscription=reference the SubscriptionReference';
COMMENT ON COLUMN subscription.node IS 'who subscribed, whose rights count; 0: nobody registered (open mode)';
COMMENT ON COLUMN subscription.consumer IS 'where notifications go (ConsumerReference)';
COMMENT ON COLUMN subscription.topic IS 'row of registry/subscriptions/topics.def';
COMMENT ON COLUMN subscription.filter IS 'rim:AdhocQuery as the subscriber sent it';
COMMENT ON COLUMN subscription.patient IS 'CX of the filter; empty: independent of the patient';
COMMENT ON COLUMN subscription.user_texts IS 'the user of an assertion whose rights count too (lib/access/user.h); empty: nobody';
COMMENT ON COLUMN subscription.ends_at IS 'NULL: until it is unsubscribed';
COMMENT ON COLUMN subscription.next_at IS 'of the notification that waits first: not before this time';
COMMENT ON COLUMN subscription.attempts IS 'of the notification that waits first';
CREATE INDEX subscription_patient ON subscription (patient);
CREATE INDEX subscription_node ON subscription (node);

CREATE TABLE subscription_event (
    id             bigint PRIMARY KEY DEFAULT nextval('subscription_order'),
    submission_set uuid NOT NULL,
    at             timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE subscription_event IS 'SubmissionSets whose subscribers are not found yet; only while there is a subscription';

CREATE TABLE subscription_notification (
    subscription bigint NOT NULL REFERENCES subscription (id) ON DELETE CASCADE,
    event        bigint NOT NULL,
    part         integer NOT NULL,
    message_id   uuid NOT NULL,
    objects      uuid[] NOT NULL,
    queued_at    timestamptz NOT NULL DEFAULT now(),
    refused_at   timestamptz,
    PRIMARY KEY (subscription, event, part)
);
COMMENT ON TABLE subscription_notification IS 'not yet acknowledged, sent in this order to each subscription';
COMMENT ON COLUMN subscription_notification.part IS 'of an event with many objects';
COMMENT ON COLUMN subscription_notification.message_id IS 'wsa:MessageID: the same each time it is sent';
COMMENT ON COLUMN subscription_notification.objects IS 'that match the filter; what of them the subscriber may know is decided when it is sent';
COMMENT ON COLUMN subscription_notification.refused_at IS 'the consumer blamed the message: kept for an operator to see; the next ones go on';
CREATE INDEX subscription_notification_waiting ON subscription_notification (subscription, event, part) WHERE refused_at IS NULL;
