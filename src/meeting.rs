//! Whether source and ledger are still those that knew each other: at each connection of a worker they change over to a new
//! common token, and the ledger keeps where the source lives.
//!
//! A database that was restored has an old token; one that was copied or moved lives elsewhere; a second one under a used name,
//! or another ledger, has no token in common. None of them is let in by guess: a person says `daybook rejoin`. A standby that was
//! promoted has the token and lives in the same cluster, on a later timeline: it is let in once nothing more is heard of the old
//! primary, and every table is reconciled, for what that one committed last may never have come over.
//!
//! ```text
//! source   token T              ── proposes N ──▶ T, N ─────────────── confirms ──▶ N
//! ledger   token T, locked                        ── changes over ──▶ N
//! ```
//!
//! A crash anywhere leaves the ledger with T or N, and the source knows both.

use crate::address::Address;

use crate::database::{Session, Side, connect_plainly};
use crate::error::{Doing, Error, Result, explain};
use crate::sql;

/// Meets, or says why these two do not belong together. `same_database`: both sides are one, and cannot be parted.
pub async fn meet(
    source: &Session,
    ledger: &Session,
    book: &str,
    source_name: &str,
    same_database: bool,
) -> Result<()> {
    ledger.begin().await.doing("meeting the ledger")?;
    let met = change_over(source, ledger, book, source_name, same_database).await;
    match met {
        Ok(token) => {
            ledger.commit().await.doing("meeting the ledger")?;
            source.execute(sql::CONFIRM_TOKEN, &[&token]).await.doing("meeting the ledger")?;
            Ok(())
        }
        Err(error) => {
            ledger.rollback().await.doing("parting from the ledger")?;
            source.rollback().await.doing("parting from the ledger")?;
            Err(error)
        }
    }
}

/// A promotion loses no more numbers, of events or entries, than were given in the last seconds or hours. So many are passed over: to
/// look for the highest would read all of the bills or of the audit log, at the worst of times.
const NUMBERS_LOST_MAX: i64 = 100_000_000;

/// Where a source lives: the cluster's identifier, the database's OID, the timeline.
pub type Place = (Option<i64>, Option<u32>, Option<String>);

/// What the ledger keeps of a source.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub token: Option<String>,
    pub place: Place,
    /// Number of the source's last event.
    pub highest_seq: i64,
    /// Where the ledger lives now.
    pub own_place: Place,
}

/// What the source keeps of its ledger, and where it lives now.
#[derive(Debug, Clone, Default)]
pub struct Here {
    pub token: Option<String>,
    pub proposed: Option<String>,
    pub place: Place,
    pub highest_seq: i64,
    /// Where the ledger lived at their last meeting.
    pub ledger_place: Place,
}

/// Why source and ledger do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parted {
    LedgerKnowsNone,
    OtherToken,
    OlderSource,
    OtherPlace,
    OtherLedger,
    /// Parted only from what an old primary did not hand on, of the source, the ledger, or both: it goes on by itself.
    Promoted {
        source: bool,
        ledger: bool,
    },
}

/// What a later look at a place tells.
#[derive(PartialEq, Eq)]
enum Moved {
    No,
    /// The same database on a later timeline.
    Promoted,
    Elsewhere,
}

fn moved(before: &Place, now: &Place) -> Moved {
    match (before, now) {
        ((None, ..), _) => Moved::No, // nothing is known of before
        _ if before == now => Moved::No,
        ((cluster, database, Some(timeline)), (cluster_now, database_now, Some(timeline_now)))
            if (cluster, database) == (cluster_now, database_now) && timeline_now > timeline =>
        {
            Moved::Promoted // a timeline is eight hexadecimal digits
        }
        _ => Moved::Elsewhere,
    }
}

/// Whether the two are no longer those that knew each other. `known`: `None` where the ledger has never heard of the source.
pub fn parted(known: Option<&Known>, here: &Here, same_database: bool) -> Option<Parted> {
    let Some(known) = known else {
        return here.token.is_some().then_some(Parted::LedgerKnowsNone);
    };
    if known.token.is_some() && known.token != here.token && known.token != here.proposed {
        return Some(Parted::OtherToken);
    }
    let unmoved = (Moved::No, Moved::No);
    let (source, ledger) = match same_database {
        true => unmoved,
        false => (moved(&known.place, &here.place), moved(&here.ledger_place, &known.own_place)),
    };
    if known.highest_seq > here.highest_seq && source != Moved::Promoted {
        return Some(Parted::OlderSource);
    }
    match (source, ledger) {
        (Moved::Elsewhere, _) => Some(Parted::OtherPlace),
        (_, Moved::Elsewhere) => Some(Parted::OtherLedger),
        (Moved::No, Moved::No) => None,
        (source, ledger) => {
            Some(Parted::Promoted { source: source == Moved::Promoted, ledger: ledger == Moved::Promoted })
        }
    }
}

impl Parted {
    /// `database`: how the ledger knows it.
    pub fn explain(self, book: &str, source_name: &str, database: &str) -> String {
        match self {
            Parted::LedgerKnowsNone => format!(
                "this source has met a ledger before, and the ledger here knows no source {source_name} of book {book}: is the \
                 ledger URL right, or was the ledger restored from before?"
            ),
            Parted::OtherToken => format!(
                "the ledger knows a source {source_name} of book {book} (database {database}), and this is not the one that it \
                 met last: another database uses the name, or one of the two was restored. A second source takes a name of its \
                 own (daybook install --source)."
            ),
            Parted::OlderSource => format!(
                "the ledger has seen later events of source {source_name} of book {book} than there are: the source was restored."
            ),
            Parted::OtherPlace => format!(
                "source {source_name} of book {book} is known to live in another database than this one: this is a copy of it, \
                 or it was moved or restored."
            ),
            Parted::OtherLedger => format!(
                "source {source_name} of book {book} has met its ledger in another database than this one: the ledger was moved, copied or \
                 restored."
            ),
            Parted::Promoted { source, .. } => format!(
                "{} source {source_name} of book {book} was promoted: `daybook run` has every table reconciled, and goes on.",
                if source { "the server of" } else { "the server of the ledger of" }
            ),
        }
    }
}

async fn change_over(
    source: &Session,
    ledger: &Session,
    book: &str,
    source_name: &str,
    same_database: bool,
) -> Result<String> {
    let doing = "meeting the ledger";
    let is_new = ledger.execute(sql::REGISTER_SOURCE, &[&book, &source_name]).await.doing(doing)? == 1;
    let known = ledger.query_one(sql::LOCK_SOURCE, &[&book, &source_name]).await.doing(doing)?;
    let here = source.query_one(sql::MEETING_OF_SOURCE, &[]).await.doing(doing)?;
    let place = |row: &tokio_postgres::Row, of: &str| -> Place {
        let column = |name: &str| format!("{of}{name}");
        (
            row.get(column("system_identifier").as_str()),
            row.get(column("database_oid").as_str()),
            row.get(column("timeline").as_str()),
        )
    };
    let token: Option<String> = known.get("token");
    let ledgers = Known {
        token: token.clone(),
        place: place(&known, ""),
        highest_seq: known.get("highest_seq"),
        own_place: place(&known, "own_"),
    };
    let ours = Here {
        token: here.get("token"),
        proposed: here.get("proposed"),
        place: place(&here, ""),
        highest_seq: here.get("highest_seq"),
        ledger_place: place(&here, "ledger_"),
    };
    let parted = parted((!is_new).then_some(&ledgers), &ours, same_database);
    // A source that nobody consumed from lately may have been copied meanwhile: that is no failover.
    let is_recent: bool = known.get("has_met_lately");
    let goes_on = |parted: &Parted| match parted {
        Parted::Promoted { source, .. } => is_recent || !source,
        _ => false,
    };
    let promoted = parted.filter(goes_on);
    if let Some(Parted::Promoted { source: true, .. }) = promoted
        && known.get("was_just_heard_of")
    {
        return Err(Error::Unreachable(format!(
            "source {source_name} of book {book} was promoted here, and its old primary is still at work or was seconds ago: waiting until \
             nothing more is heard of it"
        )));
    }
    if let (Some(parted), None) = (parted, promoted) {
        let database: Option<String> = known.get("database_name");
        return Err(Error::Strangers(format!(
            "{} If it is the same source all the same: `daybook rejoin --reason ...`, which has every table reconciled. Nothing is \
             posted until then",
            match parted {
                Parted::Promoted { .. } => format!(
                    "source {source_name} of book {book} was promoted, and has not met its ledger for an hour: it may be a copy."
                ),
                parted => parted.explain(book, source_name, &database.unwrap_or_default()),
            }
        )));
    }

    let next: String = known.get("next_token");
    source.begin().await.doing(doing)?;
    // Durable before the ledger changes over, or a crash would part the two.
    source.batch_execute("SET LOCAL synchronous_commit = on").await.doing(doing)?;
    let (cluster, database, timeline) = &ledgers.own_place;
    source.execute(sql::PROPOSE_TOKEN, &[&token, &next, cluster, database, timeline]).await.doing(doing)?;
    if let Some(promoted) = promoted {
        // Before the ledger changes over: where a crash comes between, it is done twice rather than never.
        let seen = ledgers.highest_seq.saturating_add(NUMBERS_LOST_MAX);
        source.execute("SELECT daybook.begin_numbers_anew($1)", &[&seen]).await.doing(doing)?;
        source.execute(sql::RECONCILE_PROMOTED, &[]).await.doing(doing)?;
        ledger.execute(sql::PASS_LOST_ENTRY_IDS, &[&NUMBERS_LOST_MAX]).await.doing(doing)?;
        let told = promoted.explain(book, source_name, "");
        let alert = "SELECT daybook.raise_alert('PROMOTED', $1, 'warning', $2)";
        source.execute(alert, &[&source_name, &told]).await.doing(doing)?;
        tracing::warn!("{told}");
    }
    source.commit().await.doing(doing)?;
    let (system_identifier, database_oid, timeline) = ours.place;
    let database_name: String = here.get("database_name");
    let parameters: crate::database::Parameters<'_> =
        &[&book, &source_name, &next, &system_identifier, &database_oid, &timeline, &database_name];
    ledger.execute(sql::KEEP_TOKEN, parameters).await.doing(doing)?;
    if let Some(Parted::Promoted { source, ledger: of_ledger }) = promoted {
        let whose = [(source, "the source", &timeline), (of_ledger, "the ledger", &ledgers.own_place.2)];
        let whose = whose.iter().filter(|(was, ..)| *was).map(|(_, who, timeline)| {
            format!("{who} was promoted to timeline {}", timeline.as_deref().unwrap_or_default())
        });
        let because = whose.collect::<Vec<_>>().join(", ");
        ledger.execute(sql::NOTE_PROMOTION, &[&book, &source_name, &because]).await.doing(doing)?;
    }
    Ok(next)
}

/// An operator's word that source and ledger belong together although one was moved, restored or exchanged: they meet anew,
/// event numbers go on above those that the ledger has seen, and every table is reconciled. Returns how many tables.
pub async fn rejoin(source: &Address, ledger: &Address, reason: &str) -> Result<i64> {
    if reason.trim().is_empty() {
        return Err(Error::Usage("rejoining takes a reason, which is kept in ledger.sources: --reason ...".into()));
    }
    let source = connect_plainly(Side::Source, source).await?;
    let ledger = connect_plainly(Side::Ledger, ledger).await?;
    let refused = |side: Side| {
        move |error: tokio_postgres::Error| {
            Error::Unreachable(format!(
                "rejoining on the {} database: {}. It takes a superuser, or a member of daybook_owner",
                side.name(),
                explain(&error)
            ))
        }
    };
    let names = include_str!("../sql/status/source.sql");
    let names = source.query_one(names, &[]).await.map_err(refused(Side::Source))?;
    let (name, book): (String, String) = (names.get("source"), names.get("book"));
    let highest =
        "SELECT coalesce(max(last_event_seq), 0) FROM ledger.sync_master_status WHERE book = $1 AND source = $2";
    let highest: i64 = ledger.query_one(highest, &[&book, &name]).await.map_err(refused(Side::Ledger))?.get(0);
    let told: i64 = source
        .query_one(include_str!("../sql/highest_entry_told.sql"), &[])
        .await
        .map_err(refused(Side::Source))?
        .get(0);
    ledger.execute("SELECT ledger.pass_entry_ids($1)", &[&told]).await.map_err(refused(Side::Ledger))?;
    let tables = source
        .query_one(include_str!("../sql/rejoin_source.sql"), &[&highest])
        .await
        .map_err(refused(Side::Source))?
        .get(0);
    ledger
        .execute(include_str!("../sql/rejoin_ledger.sql"), &[&book, &name, &reason])
        .await
        .map_err(refused(Side::Ledger))?;
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cluster: i64, timeline: &str) -> Place {
        (Some(cluster), Some(16_384), Some(timeline.into()))
    }

    #[test]
    fn only_a_later_timeline_of_the_same_database_goes_on_by_itself() {
        let token = |token: &str| Some(token.to_string());
        let known = |cluster: i64, timeline: &str| Known {
            token: token("a"),
            place: place(1, "00000001"),
            highest_seq: 10,
            own_place: place(cluster, timeline),
        };
        let here = |cluster: i64, timeline: &str| Here {
            token: token("a"),
            proposed: None,
            place: place(cluster, timeline),
            highest_seq: 10,
            ledger_place: place(2, "00000002"),
        };
        let both = |source: (i64, &str), ledger: (i64, &str)| {
            parted(Some(&known(ledger.0, ledger.1)), &here(source.0, source.1), false)
        };
        let ((source, ledger), later) = (((1, "00000001"), (2, "00000002")), "0000000A");
        assert_eq!(both(source, ledger), None);
        assert_eq!(both((1, later), ledger), Some(Parted::Promoted { source: true, ledger: false }));
        assert_eq!(both(source, (2, later)), Some(Parted::Promoted { source: false, ledger: true }));
        assert_eq!(both((1, later), (2, later)), Some(Parted::Promoted { source: true, ledger: true }));
        assert_eq!(both((7, later), ledger), Some(Parted::OtherPlace));
        assert_eq!(both(source, (7, later)), Some(Parted::OtherLedger));
        assert_eq!(both(source, (2, "00000001")), Some(Parted::OtherLedger), "an earlier one was set back");
        assert_eq!(both((1, later), (7, later)), Some(Parted::OtherLedger));

        let older = Here { highest_seq: 9, ..here(1, "00000001") };
        assert_eq!(parted(Some(&known(2, "00000002")), &older, false), Some(Parted::OlderSource));
        let older = Here { highest_seq: 9, ..here(1, later) };
        let promoted = Some(Parted::Promoted { source: true, ledger: false });
        assert_eq!(parted(Some(&known(2, "00000002")), &older, false), promoted, "its standby lacked the last events");
        let other = Here { token: token("b"), ..here(1, later) };
        assert_eq!(parted(Some(&known(2, "00000002")), &other, false), Some(Parted::OtherToken));
        assert_eq!(parted(Some(&known(7, later)), &here(7, later), true), None, "one database cannot be parted");
        assert_eq!(parted(None, &here(1, later), false), Some(Parted::LedgerKnowsNone));
    }
}
