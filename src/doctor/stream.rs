//! What capture from the WAL needs. Pure. Where no table is captured so, it needs nothing.

use serde::Deserialize;

use super::Limits;
use super::finding::{Finding, Place};
use crate::database::{quote_identifier, quote_literal};
use crate::stream::slot::counts_as_standby;

/// `stream.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Stream {
    pub tables: Vec<Streamed>,
    pub wal_level: String,
    pub slots_max: i64,
    pub slots: i64,
    pub senders_max: i64,
    pub senders: i64,
    /// -1 where the server keeps whatever a slot needs.
    pub keep_megabytes: i64,
    pub synchronous_standby_names: String,
    pub role: String,
    pub may_replicate: bool,
    pub database: String,
    /// Whether a large transaction can be moved out of memory.
    pub may_spill: bool,
    pub slot_name: String,
    pub slot_statement: String,
    pub slot: Option<Slot>,
}

/// A table that is captured from the WAL.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Streamed {
    pub name: String,
    pub is_published: bool,
    /// What gives it a replica identity that covers its key, where it has none.
    pub identity_advice: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Slot {
    pub active: bool,
    pub is_lost: bool,
    pub retained_bytes: Option<i64>,
}

/// Less WAL than that may be gone before a stream that was stopped for the night is there again.
const KEEP_MEGABYTES_MIN: i64 = 1024;

/// The server's settings.
pub fn settings(stream: &Stream) -> Vec<Finding> {
    if stream.tables.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if counts_as_standby(&stream.synchronous_standby_names) {
        let fix = "-- with the names of your standbys in place of these:\n\
                   ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby1, standby2)';\nSELECT pg_reload_conf();";
        findings.push(
            Finding::error(
                "stream_settings",
                "synchronous_standby_names",
                "counts the stream as a standby, for which the application's \
                commits would wait: it does not stream",
            )
            .fix(Place::Source, fix),
        );
    }
    let mut found =
        |finding: fn(&'static str, String, String) -> Finding, name: &str, value: String, problem: String| {
            let fix = format!("ALTER SYSTEM SET {name} = {value};\nSELECT pg_reload_conf();");
            findings.push(finding("stream_settings", name.to_string(), problem).fix(Place::Source, fix));
        };
    let error = |check, subject: String, problem: String| Finding::error(check, subject, problem);
    let warning = |check, subject: String, problem: String| Finding::warning(check, subject, problem);
    let info = |check, subject: String, problem: String| Finding::info(check, subject, problem);
    if stream.wal_level != "logical" {
        let problem = format!(
            "is {}, so that tables in mode wal are not captured; it takes a restart of the server",
            stream.wal_level
        );
        found(error, "wal_level", quote_literal("logical"), problem);
    }
    if stream.slot.is_none() && stream.slots >= stream.slots_max {
        let problem = format!(
            "all {} slots are taken, and the stream needs one; it takes a restart of the server",
            stream.slots_max
        );
        found(error, "max_replication_slots", (stream.slots + 1).to_string(), problem);
    }
    if !stream.slot.is_some_and(|slot| slot.active) && stream.senders >= stream.senders_max {
        let problem = format!(
            "all {} walsenders are taken, and the stream needs one; it takes a restart of the server",
            stream.senders_max
        );
        found(error, "max_wal_senders", (stream.senders + 1).to_string(), problem);
    }
    let keep = quote_literal("10GB");
    match stream.keep_megabytes {
        -1 => found(
            info,
            "max_slot_wal_keep_size",
            keep,
            "is unlimited: a stream that stands still for long fills the disk, which stops the application; with a limit it loses its \
             slot instead, and the tables are reconciled"
                .into(),
        ),
        megabytes if megabytes < KEEP_MEGABYTES_MIN => found(
            warning,
            "max_slot_wal_keep_size",
            keep,
            format!("is {megabytes} MB: a stream that stands still for a short while loses its slot"),
        ),
        _ => {}
    }
    findings
}

/// The right to stream, and the slot.
pub fn slot(stream: &Stream, limits: &Limits) -> Vec<Finding> {
    let drop = format!("SELECT pg_drop_replication_slot({});", quote_literal(&stream.slot_name));
    let subject = format!("slot {}", stream.slot_name);
    if stream.tables.is_empty() {
        let problem = "keeps WAL, and no table is captured from it: drop it, or attach one";
        let left = stream.slot.map(|_| Finding::warning("stream_slot", subject, problem).fix(Place::Source, drop));
        return left.into_iter().collect();
    }
    let mut findings = Vec::new();
    if !stream.may_spill {
        let problem = format!(
            "has no TEMPORARY on database {}, which a transaction of more rows than memory is to hold needs",
            stream.database
        );
        let fix = format!("GRANT TEMPORARY ON DATABASE {} TO daybook_consumer;", quote_identifier(&stream.database));
        findings.push(Finding::error("stream_spill", "daybook_consumer", problem).fix(Place::Source, fix));
    }
    if !stream.may_replicate {
        let problem = "has no REPLICATION, without which `daybook run` can neither stream nor make its slot";
        let fix = format!("ALTER ROLE {} REPLICATION;", quote_identifier(&stream.role));
        findings.push(Finding::error("stream_slot", &stream.role, problem).fix(Place::Source, fix));
    }
    match stream.slot {
        None => findings.push(
            Finding::warning("stream_slot", subject, "is not there: `daybook run` makes it, and has the tables reconciled")
                .fix(Place::Source, format!("{};", stream.slot_statement)),
        ),
        Some(Slot { is_lost: true, .. }) => findings.push(
            Finding::error(
                "stream_slot",
                subject,
                "was invalidated, since the server has removed WAL that it needs: `daybook run` makes it anew, and has the tables reconciled",
            )
            .fix(Place::Source, drop),
        ),
        Some(Slot { retained_bytes: Some(bytes), active, .. }) if bytes >= limits.slot_bytes => {
            let who = if active { "its stream is behind" } else { "nobody streams from it" };
            findings.push(
                Finding::warning("stream_slot", subject, format!("{who}, and the server keeps {} MiB of WAL", bytes >> 20))
                    .fix(Place::Shell, "daybook run"),
            );
        }
        Some(_) => {}
    }
    findings
}

/// Every table is published, and the WAL names its keys.
pub fn tables(stream: &Stream) -> Vec<Finding> {
    let finding = |table: &Streamed| {
        let attach = format!(
            "SELECT daybook.attach(relation, reference_type, key_columns, filter_columns) FROM daybook.sync_source WHERE relation_name = {};",
            quote_literal(&table.name)
        );
        match (&table.identity_advice, table.is_published) {
            (Some(advice), _) => Some(
                Finding::error(
                    "stream_tables",
                    &table.name,
                    "its replica identity does not cover its key, so that the WAL does not say which row was changed",
                )
                .fix(Place::Source, format!("{advice}\n{attach}")),
            ),
            (None, false) => Some(
                Finding::error(
                    "stream_tables",
                    &table.name,
                    "is not in publication daybook, so that its changes are not streamed",
                )
                .fix(Place::Source, attach),
            ),
            (None, true) => None,
        }
    };
    stream.tables.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Stream {
        Stream {
            tables: vec![Streamed { name: "lab_bills".into(), is_published: true, identity_advice: None }],
            wal_level: "logical".into(),
            slots_max: 10,
            slots: 1,
            senders_max: 10,
            senders: 1,
            keep_megabytes: 10_240,
            synchronous_standby_names: "FIRST 1 (standby1)".into(),
            role: "poster".into(),
            may_replicate: true,
            database: "clinic".into(),
            may_spill: true,
            slot_name: "daybook_5".into(),
            slot_statement: "SELECT make()".into(),
            slot: Some(Slot { active: true, is_lost: false, retained_bytes: Some(100) }),
        }
    }

    fn told(stream: &Stream) -> Vec<String> {
        let findings = [settings(stream), slot(stream, &Limits::default()), tables(stream)].concat();
        findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.subject, finding.fix.lines().next().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn each_thing_that_a_stream_lacks_is_told_with_the_statement_that_mends_it() {
        assert!(told(&healthy()).is_empty());
        let none =
            Stream { tables: Vec::new(), wal_level: "replica".into(), may_replicate: false, slot: None, ..healthy() };
        assert!(told(&none).is_empty(), "nobody needs it");
        let left = Stream { tables: Vec::new(), ..healthy() };
        assert_eq!(told(&left), ["slot daybook_5: SELECT pg_drop_replication_slot('daybook_5');"]);
        let cases: [(Stream, &str); 10] = [
            (
                Stream { synchronous_standby_names: "*".into(), ..healthy() },
                "synchronous_standby_names: -- with the names of your standbys in place of these:",
            ),
            (
                Stream { may_spill: false, ..healthy() },
                "daybook_consumer: GRANT TEMPORARY ON DATABASE \"clinic\" TO daybook_consumer;",
            ),
            (Stream { wal_level: "replica".into(), ..healthy() }, "wal_level: ALTER SYSTEM SET wal_level = 'logical';"),
            (
                Stream { slots: 11, slots_max: 10, slot: Some(Slot::default()), senders: 10, ..healthy() },
                "max_wal_senders: ALTER SYSTEM SET max_wal_senders = 11;",
            ),
            (
                Stream { keep_megabytes: -1, ..healthy() },
                "max_slot_wal_keep_size: ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';",
            ),
            (
                Stream { keep_megabytes: 16, ..healthy() },
                "max_slot_wal_keep_size: ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';",
            ),
            (Stream { may_replicate: false, ..healthy() }, "poster: ALTER ROLE \"poster\" REPLICATION;"),
            (Stream { slot: None, ..healthy() }, "slot daybook_5: SELECT make();"),
            (
                Stream { slot: Some(Slot { is_lost: true, ..Slot::default() }), ..healthy() },
                "slot daybook_5: SELECT pg_drop_replication_slot('daybook_5');",
            ),
            (
                Stream {
                    slot: Some(Slot { active: true, is_lost: false, retained_bytes: Some(i64::MAX) }),
                    ..healthy()
                },
                "slot daybook_5: daybook run",
            ),
        ];
        for (stream, expected) in cases {
            assert_eq!(told(&stream), [expected]);
        }
        let full = Stream { slots: 10, slot: None, ..healthy() };
        assert_eq!(told(&full)[0], "max_replication_slots: ALTER SYSTEM SET max_replication_slots = 11;");
        let mut unidentified = healthy();
        unidentified.tables[0].identity_advice = Some("ALTER TABLE lab_bills REPLICA IDENTITY FULL;".into());
        assert_eq!(told(&unidentified), ["lab_bills: ALTER TABLE lab_bills REPLICA IDENTITY FULL;"]);
    }
}
