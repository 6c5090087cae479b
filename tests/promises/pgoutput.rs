//! The decoder of pgoutput, by bytes that a real server wrote, beside another parser, and by bytes that nobody would write.

use daybook::stream::pgoutput::{Message, Tuple, Value, decode};
use pg_walstream::{LogicalReplicationMessage as Theirs, LogicalReplicationParser, TupleData};
use proptest::prelude::*;

use crate::harness::{Clinic, Cluster};

/// Everything that a stream can hold of a table.
const LIFE: &str = r#"
    CREATE TYPE mood AS ENUM ('fine', 'odd');
    CREATE TABLE plain (id bigint PRIMARY KEY, note text, amount numeric, at timestamptz, feels mood, big text);
    CREATE TABLE whole (id bigint, note text); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE "Odd ""Name""" ("Ключ" text PRIMARY KEY, x integer[], y jsonb);
    CREATE PUBLICATION recorded FOR TABLE plain, whole, "Odd ""Name""";
    SELECT pg_create_logical_replication_slot('recorded_' || current_database(), 'pgoutput');
    ALTER TABLE plain ALTER COLUMN big SET STORAGE EXTERNAL;
    INSERT INTO plain VALUES (1, 'a', 1.50, '2024-02-29 10:00+00', 'fine', repeat('x', 9000)), (2, NULL, 'NaN', 'infinity', NULL, NULL);
    UPDATE plain SET note = 'b' WHERE id = 1;
    UPDATE plain SET id = 7 WHERE id = 2;
    INSERT INTO whole SELECT g, repeat('y', g) FROM generate_series(1, 50) AS g;
    UPDATE whole SET note = note || 'z' WHERE id < 5; DELETE FROM whole WHERE id > 45;
    BEGIN; INSERT INTO "Odd ""Name""" VALUES ('häuser 漢', '{1,NULL}', '{"a": [1, "\n"]}'); SAVEPOINT s; DELETE FROM plain;
    ROLLBACK TO s; DELETE FROM plain WHERE id = 1; COMMIT;
    ALTER TABLE plain ADD COLUMN late integer DEFAULT 5; INSERT INTO plain (id) VALUES (8);
    SELECT pg_logical_emit_message(true, 'prefix', 'content'), pg_logical_emit_message(false, 'p', E'\\x00ff'::bytea);
    TRUNCATE plain, whole RESTART IDENTITY CASCADE;
"#;

async fn recorded(clinic: &Clinic) -> Vec<Vec<u8>> {
    for statements in LIFE.split(";\n") {
        clinic.dba.simple_query(statements).await.unwrap_or_else(|error| panic!("{error:?}"));
    }
    let sql = "SELECT data FROM pg_logical_slot_get_binary_changes('recorded_' || current_database(), NULL, NULL,
                   'proto_version', '1', 'publication_names', 'recorded', 'messages', 'true')";
    clinic.dba.query(sql, &[]).await.expect("reads").iter().map(|row| row.get(0)).collect()
}

fn values(tuple: &Tuple<'_>) -> Vec<(char, Vec<u8>)> {
    let value = |value: &Value<'_>| match value {
        Value::Null => ('n', Vec::new()),
        Value::Unchanged => ('u', Vec::new()),
        Value::Text(text) => ('t', text.to_vec()),
    };
    tuple.iter().map(value).collect()
}

fn theirs(tuple: &TupleData) -> Vec<(char, Vec<u8>)> {
    tuple.columns.iter().map(|column| (column.data_type as char, column.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn what_a_real_server_writes_is_decoded_as_another_parser_reads_it() {
    let clinic = Clinic::with_both_on(Cluster::streaming()).await;
    let messages = recorded(&clinic).await;
    let mut parser = LogicalReplicationParser::with_protocol_version(1);
    let mut kinds = std::collections::BTreeSet::new();
    for bytes in &messages {
        kinds.insert(bytes[0] as char);
        let ours = decode(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        let other = parser.parse_wal_message(bytes).expect("the other parser reads it").message;
        match (&ours, &other) {
            (Message::Begin { final_lsn, xid, .. }, Theirs::Begin { final_lsn: lsn, xid: id, .. }) => {
                assert_eq!((final_lsn, xid), (lsn, id));
            }
            (Message::Commit { commit_lsn, end_lsn, .. }, Theirs::Commit { commit_lsn: commit, end_lsn: end, .. }) => {
                assert_eq!((commit_lsn, end_lsn), (commit, end))
            }
            (
                Message::Relation(relation),
                Theirs::Relation { relation_id, namespace, relation_name, replica_identity, columns },
            ) => {
                assert_eq!((relation.id, relation.replica_identity), (*relation_id, *replica_identity));
                assert_eq!((relation.namespace, relation.name), (&**namespace, &**relation_name));
                let ours: Vec<(&str, u32, bool)> =
                    relation.columns.iter().map(|column| (column.name, column.type_id, column.is_identity)).collect();
                let theirs: Vec<(&str, u32, bool)> =
                    columns.iter().map(|column| (&*column.name, column.type_id, column.is_key())).collect();
                assert_eq!(ours, theirs);
            }
            (Message::Insert { relation, new }, Theirs::Insert { relation_id, tuple }) => {
                assert_eq!((*relation, values(new)), (*relation_id, theirs(tuple)));
            }
            (Message::Update { relation, old, new }, Theirs::Update { relation_id, old_tuple, new_tuple, .. }) => {
                assert_eq!((*relation, values(new)), (*relation_id, theirs(new_tuple)));
                assert_eq!(old.as_ref().map(values), old_tuple.as_ref().map(theirs));
            }
            (Message::Delete { relation, old }, Theirs::Delete { relation_id, old_tuple, .. }) => {
                assert_eq!((*relation, values(old)), (*relation_id, theirs(old_tuple)));
            }
            (Message::Truncate { relations }, Theirs::Truncate { relation_ids, .. }) => {
                assert_eq!(relations, relation_ids);
            }
            (Message::Type { id, namespace, name }, Theirs::Type { type_id, namespace: other, type_name }) => {
                assert_eq!((*id, *namespace, *name), (*type_id, other.as_str(), type_name.as_str()));
            }
            (
                Message::Message { lsn, prefix, content, is_transactional },
                Theirs::Message { flags, lsn: at, prefix: other, content: bytes },
            ) => {
                assert_eq!((lsn, *prefix, *content), (at, other.as_str(), &**bytes));
                assert_eq!(*is_transactional, flags & 1 == 1);
            }
            (ours, other) => panic!("{ours:?} is not {other:?}"),
        }
    }
    assert_eq!(kinds.into_iter().collect::<String>(), "BCDIMRTUY", "every kind of message was seen");
}

#[tokio::test]
async fn no_bytes_make_the_decoder_panic_or_take_memory_that_is_not_theirs() {
    let clinic = Clinic::with_both_on(Cluster::streaming()).await;
    let messages = recorded(&clinic).await;
    // Each cut short at each place, and with each byte changed.
    for bytes in messages.iter().filter(|bytes| bytes.len() < 2_000) {
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "a message without its end is none");
            for change in [0, 1, 0x7f, 0x80, 0xff, b't', b'N'] {
                let mut changed = bytes.clone();
                changed[at] = change;
                let _ = decode(&changed);
            }
        }
    }
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let kinds = prop::sample::select(b"BCORYIUDTMSEcAbPKrp".to_vec());
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let strategy = (kinds, prop::collection::vec(any::<u8>(), 0..200));
    runner
        .run(&strategy, |(kind, mut bytes)| {
            bytes.insert(0, kind);
            let _ = decode(&bytes);
            Ok(())
        })
        .expect("nothing panics");
}
