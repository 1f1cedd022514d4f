-- The events of a honeypot (Cowrie), as JSON lines, into a table whose addresses are observed.
CREATE EXTENSION asn_inventory;

CREATE TABLE raw_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload  jsonb NOT NULL
);

-- The attacker's address, that of the host that a malware URL names, and every address in a typed command; the time of the
-- event is in the JSON as well.
SELECT attach_ip_source('raw_events', ARRAY['payload->>src_ip', 'payload->>url', 'text(payload->>input)'],
                        observed_at => 'payload->>timestamp');

CREATE TEMP TABLE incoming (line jsonb);
