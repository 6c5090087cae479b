//! The life of the slot: whether it is the one that the stream has read so far. Pure, but for making it.

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::pgoutput::Lsn;
use super::transport::APPLICATION_NAME;
use crate::database::{LOCK_TIMEOUT, Session};
use crate::error::{Doing, Error, Result};
use crate::sql::stream as sql;

/// What the server has, and what the stream remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub slot_name: String,
    /// What makes it, for psql.
    pub statement: String,
    pub system_identifier: i64,
    /// Up to where everything is enqueued, and in which cluster; `None` before the first stream.
    pub progress: Option<(Lsn, i64)>,
    pub slot: Option<Slot>,
    /// Attached tables that want a stream.
    pub wanted: i64,
    /// Of the two, those that are there.
    pub publications: i64,
    /// Whether the server takes the stream for a synchronous standby.
    pub is_standby: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Of this database, by pgoutput.
    pub is_ours: bool,
    pub is_active: bool,
    /// Whether somebody is making it just now.
    pub is_being_made: bool,
    /// Whether the server has removed WAL that it needs.
    pub is_lost: bool,
    /// Up to where somebody has said that everything is durable.
    pub confirmed: Lsn,
}

/// How the slot stands, and so what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It goes on where it was.
    Sound { from: Lsn },
    /// Another process streams.
    Busy,
    /// There is none, and there was none before.
    New,
    /// It is there, made by hand, and nothing was streamed yet.
    ByHand { from: Lsn },
    /// What was changed since is in no queue, for this reason. Where a usable slot is there, it goes on from its position.
    Lost { why: &'static str, to_be_dropped: bool, from: Option<Lsn> },
    /// Its name is taken by something else.
    Foreign,
}

impl Facts {
    pub async fn load(source: &Session) -> Result<Facts> {
        let row = source.query_one(sql::SLOT, &[]).await.doing("looking at the slot")?;
        let lsn = |row: &Row, name: &str| row.get::<_, Option<i64>>(name).map(|lsn| lsn as Lsn);
        let slot = row.get::<_, bool>("exists").then(|| Slot {
            is_ours: row.get("is_ours"),
            is_active: row.get("active"),
            is_being_made: row.get::<_, bool>("active") && lsn(&row, "confirmed").is_none(),
            is_lost: row.get::<_, Option<String>>("wal_status").as_deref() == Some("lost"),
            confirmed: lsn(&row, "confirmed").unwrap_or_default(),
        });
        Ok(Facts {
            slot_name: row.get("slot_name"),
            statement: row.get("statement"),
            system_identifier: row.get("system_identifier"),
            progress: lsn(&row, "progress").zip(row.get("progress_system_identifier")),
            slot,
            wanted: row.get("wanted"),
            publications: row.get("publications"),
            is_standby: counts_as_standby(row.get("synchronous_standby_names")),
        })
    }

    /// A slot has confirmed at most what was durable before: one that has confirmed more was made anew, or moved by somebody else.
    pub fn standing(&self) -> Standing {
        let lost = |why, to_be_dropped, from| Standing::Lost { why, to_be_dropped, from };
        match (&self.slot, self.progress) {
            (Some(slot), _) if !slot.is_ours => Standing::Foreign,
            (Some(slot), _) if slot.is_active => Standing::Busy,
            (None, None) => Standing::New,
            (Some(slot), None) if slot.is_lost => lost("the server has removed WAL that it needs", true, None),
            (Some(slot), None) => Standing::ByHand { from: slot.confirmed },
            (slot, Some((_, cluster))) if cluster != self.system_identifier => {
                let usable = slot.as_ref().filter(|slot| !slot.is_lost);
                lost(
                    "this is another cluster than the one whose changes were streamed",
                    slot.is_some() && usable.is_none(),
                    usable.map(|slot| slot.confirmed),
                )
            }
            (None, Some(_)) => {
                lost("it was dropped, or did not come along to a promoted or restored server", false, None)
            }
            (Some(slot), Some(_)) if slot.is_lost => lost("the server has removed WAL that it needs", true, None),
            (Some(slot), Some((progress, _))) if slot.confirmed > progress => {
                lost("it was made anew, or moved on by somebody else", false, Some(slot.confirmed))
            }
            (Some(_), Some((progress, _))) => Standing::Sound { from: progress },
        }
    }
}

/// Whether `synchronous_standby_names` counts the stream: the application's commits would wait for it, and it waits until they are seen.
/// Grammar: a list of names, or `FIRST 1 (list)`, `ANY 1 (list)`, `1 (list)`; names match whatever their case, and `*` matches any.
pub fn counts_as_standby(names: &str) -> bool {
    let listed = names.split_once('(').map_or(names, |(_, listed)| listed.trim_end().trim_end_matches(')'));
    listed
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .any(|name| name == "*" || name.eq_ignore_ascii_case(APPLICATION_NAME))
}

/// What to do where it does.
pub const IS_STANDBY: &str = "synchronous_standby_names counts the stream as a standby, so that commits of the application would wait for it: \
    name the standbys there, and not '*'; or capture by triggers";

/// What keeps a slot from being made: it begins where every transaction has ended that was there.
pub fn waits(slot_name: &str) -> Error {
    Error::Unreachable(format!(
        "slot {slot_name} is being made, and waits for all transactions that have written and are open, prepared ones too: end them. Which: \
         SELECT pid, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL; SELECT gid, prepared FROM pg_prepared_xacts"
    ))
}

/// Makes the slot, as the login role, which needs REPLICATION for it; `drops` one that is of no use first. Returns its position.
pub async fn make(source: &Session, facts: &Facts, drops: bool) -> Result<Lsn> {
    let doing = "making the slot";
    if drops {
        as_login_role(source, "SELECT pg_drop_replication_slot($1)::text", facts).await?;
    }
    let failover = if facts.statement.ends_with("true)") { ", false, false, true" } else { "" };
    // Neither fits into a transaction that has written.
    let sql = format!(
        "SELECT (lsn - '0/0')::bigint::text FROM pg_create_logical_replication_slot($1::text::name, 'pgoutput'{failover})"
    );
    let position = match as_login_role(source, &sql, facts).await {
        Ok(position) => position,
        Err(error) => {
            unmake(source, facts).await; // where daybook was uninstalled while it was made
            return Err(error);
        }
    };
    let position: Option<i64> = position.and_then(|text| text.parse().ok());
    position.map(|lsn| lsn as Lsn).ok_or_else(|| Error::Unexpected(format!("{doing}: it has no position")))
}

/// Drops a slot that was just made and that nobody will read, so that it keeps no WAL for ever. Where that fails, too, the log has what to say.
pub async fn unmake(source: &Session, facts: &Facts) {
    let unmade = async {
        source.rollback().await?;
        source.batch_execute("RESET ROLE").await?;
        // One of our kind alone; the same statement finds none where it was not made.
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                    WHERE slot_name = $1 AND database = current_database() AND plugin = 'pgoutput' AND NOT active";
        source.query(drop, &[&facts.slot_name]).await
    };
    if let Err(error) = unmade.await {
        tracing::warn!(
            slot = facts.slot_name,
            "is not needed, and could not be dropped: {}",
            crate::error::explain(&error)
        );
    }
}

/// Drops it, where no table wants it any more.
pub async fn give_up(source: &Session) -> Result<()> {
    let doing = "dropping the slot that no table wants";
    source.batch_execute("RESET ROLE").await.doing(doing)?;
    let dropped = source
        .batch_execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_name = (SELECT 'daybook_' || oid FROM pg_database WHERE datname = current_database()) \
               AND database = current_database() AND NOT active",
        )
        .await;
    source.batch_execute("SET ROLE daybook_consumer").await.doing(doing)?;
    dropped.doing(doing)?;
    source.execute("DELETE FROM daybook.wal_progress", &[]).await.doing(doing)?;
    Ok(())
}

async fn as_login_role(source: &Session, sql: &str, facts: &Facts) -> Result<Option<String>> {
    let doing = "making the slot";
    // A slot that is being made waits for others as for locks, and is in nobody's way meanwhile. Nobody is to be left with one that its maker
    // no longer waits for; a server's platform may not be able to look for that.
    source.batch_execute("RESET ROLE; SET lock_timeout = 0").await.doing(doing)?;
    let _ = source.batch_execute("SET client_connection_check_interval = '1s'").await;
    let making = source.unfinished();
    let answer = source.query_one(sql, &[&facts.slot_name]).await;
    making.is_done();
    source.batch_execute(&format!("SET ROLE daybook_consumer; {LOCK_TIMEOUT}")).await.doing(doing)?;
    match answer {
        Ok(row) => Ok(row.get(0)),
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => Err(waits(&facts.slot_name)),
        Err(error) => Err(Error::Unreachable(format!(
            "slot {} cannot be made: {}. Give the login role of `daybook run` the right: ALTER ROLE ... REPLICATION; or make it as a superuser: {}",
            facts.slot_name,
            crate::error::explain(&error),
            facts.statement
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(slot: Option<Slot>, progress: Option<(Lsn, i64)>) -> Facts {
        Facts {
            slot_name: "daybook_5".into(),
            statement: String::new(),
            system_identifier: 7,
            progress,
            slot,
            wanted: 1,
            publications: 2,
            is_standby: false,
        }
    }

    fn slot(confirmed: Lsn) -> Slot {
        Slot { is_ours: true, is_active: false, is_being_made: false, is_lost: false, confirmed }
    }

    #[test]
    fn a_dropped_a_recreated_an_invalidated_a_foreign_slot_and_another_cluster_s_are_told_apart() {
        let why = |standing| match standing {
            Standing::Lost { why, .. } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(facts(None, None).standing(), Standing::New);
        assert_eq!(facts(Some(slot(10)), None).standing(), Standing::ByHand { from: 10 });
        assert_eq!(facts(Some(slot(10)), Some((12, 7))).standing(), Standing::Sound { from: 12 });
        assert_eq!(facts(Some(slot(12)), Some((12, 7))).standing(), Standing::Sound { from: 12 });
        assert!(why(facts(None, Some((12, 7))).standing()).contains("dropped"));
        assert!(why(facts(Some(slot(13)), Some((12, 7))).standing()).contains("made anew"));
        assert!(why(facts(Some(slot(10)), Some((12, 8))).standing()).contains("another cluster"));
        let lost = Slot { is_lost: true, ..slot(10) };
        assert_eq!(
            facts(Some(lost), Some((12, 7))).standing(),
            Standing::Lost { why: "the server has removed WAL that it needs", to_be_dropped: true, from: None }
        );
        assert_eq!(facts(Some(Slot { is_active: true, ..slot(1) }), Some((12, 7))).standing(), Standing::Busy);
        assert_eq!(facts(Some(Slot { is_ours: false, ..slot(1) }), None).standing(), Standing::Foreign);
    }

    #[test]
    fn a_stream_counts_as_a_standby_where_any_does_or_its_own_name() {
        for names in
            ["*", "1 (*)", "FIRST 2 (s1, *)", "any 1(*)", "\"*\"", "ANY 1 (s1, \"Daybook Stream\")", "daybook stream"]
        {
            assert!(counts_as_standby(names), "{names}");
        }
        for names in ["", "s1", "FIRST 1 (s1, s2)", "s1, \"daybook\"", "ANY 1 ( s1 )", "\"daybook stream 2\""] {
            assert!(!counts_as_standby(names), "{names}");
        }
    }
}
