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
            Err(error)
        }
    }
}

/// Where a source lives: the cluster's identifier, the database's OID, the timeline.
pub type Place = (Option<i64>, Option<u32>, Option<String>);

/// What the ledger keeps of a source.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub token: Option<String>,
    pub place: Place,
    /// Number of the source's last event.
    pub highest_seq: i64,
}

/// What the source keeps of its ledger, and where it lives now.
#[derive(Debug, Clone, Default)]
pub struct Here {
    pub token: Option<String>,
    pub proposed: Option<String>,
    pub place: Place,
    pub highest_seq: i64,
}

/// Why source and ledger do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parted {
    LedgerKnowsNone,
    OtherToken,
    OlderSource,
    OtherPlace,
    /// Parted only from what the old primary did not hand on: it goes on by itself.
    Promoted,
}

/// Whether the two are no longer those that knew each other. `known`: `None` where the ledger has never heard of the source.
pub fn parted(known: Option<&Known>, here: &Here, same_database: bool) -> Option<Parted> {
    let Some(known) = known else {
        return here.token.is_some().then_some(Parted::LedgerKnowsNone);
    };
    if known.token.is_some() && known.token != here.token && known.token != here.proposed {
        return Some(Parted::OtherToken);
    }
    let (cluster, database, timeline) = &known.place;
    if !same_database
        && timeline.is_some()
        && (cluster, database) == (&here.place.0, &here.place.1)
        && here.place.2 > *timeline
    // eight hexadecimal digits
    {
        return Some(Parted::Promoted);
    }
    if known.highest_seq > here.highest_seq {
        return Some(Parted::OlderSource);
    }
    (!same_database && known.place.0.is_some() && known.place != here.place).then_some(Parted::OtherPlace)
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
            Parted::Promoted => format!(
                "source {source_name} of book {book} was promoted: `daybook run` has every table reconciled, and goes on."
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
    let place = |row: &tokio_postgres::Row| -> Place {
        (row.get("system_identifier"), row.get("database_oid"), row.get("timeline"))
    };
    let token: Option<String> = known.get("token");
    let ledgers = Known { token: token.clone(), place: place(&known), highest_seq: known.get("highest_seq") };
    let ours = Here {
        token: here.get("token"),
        proposed: here.get("proposed"),
        place: place(&here),
        highest_seq: here.get("highest_seq"),
    };
    let parted = parted((!is_new).then_some(&ledgers), &ours, same_database);
    let is_promoted = parted == Some(Parted::Promoted);
    if is_promoted && known.get("was_just_heard_of") {
        return Err(Error::Unreachable(format!(
            "source {source_name} of book {book} was promoted here, and its old primary is still at work or was seconds ago: waiting until \
             nothing more is heard of it"
        )));
    }
    if let Some(parted) = parted.filter(|_| !is_promoted) {
        let database: Option<String> = known.get("database_name");
        return Err(Error::Strangers(format!(
            "{} If it is the same source all the same: `daybook rejoin --reason ...`, which has every table reconciled. Nothing is \
             posted until then",
            parted.explain(book, source_name, &database.unwrap_or_default())
        )));
    }

    let next: String = known.get("next_token");
    source.begin().await.doing(doing)?;
    // Durable before the ledger changes over, or a crash would part the two.
    source.batch_execute("SET LOCAL synchronous_commit = on").await.doing(doing)?;
    source.execute(sql::PROPOSE_TOKEN, &[&token, &next]).await.doing(doing)?;
    if is_promoted {
        // Before the ledger changes over: where a crash comes between, it is done twice rather than never.
        let seen: i64 = ledger.query_one(sql::HIGHEST_SEEN, &[&book, &source_name]).await.doing(doing)?.get(0);
        source.execute("SELECT daybook.number_events_above($1)", &[&seen]).await.doing(doing)?;
        source.execute(sql::RECONCILE_PROMOTED, &[]).await.doing(doing)?;
        tracing::warn!("{}", Parted::Promoted.explain(book, source_name, ""));
    }
    source.commit().await.doing(doing)?;
    let (system_identifier, database_oid, timeline) = ours.place;
    let database_name: String = here.get("database_name");
    let parameters: crate::database::Parameters<'_> =
        &[&book, &source_name, &next, &system_identifier, &database_oid, &timeline, &database_name];
    ledger.execute(sql::KEEP_TOKEN, parameters).await.doing(doing)?;
    if is_promoted {
        ledger.execute(sql::NOTE_PROMOTION, &[&book, &source_name, &timeline]).await.doing(doing)?;
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
