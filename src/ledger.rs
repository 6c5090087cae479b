//! The ledger: bills' status under lock, the book, the rules in force, and the brake.

use chrono::{DateTime, NaiveDate, Utc};

use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, Result};
use crate::posting::entries::Calendar;
use crate::posting::rule::RuleSet;
use crate::sql;

/// The bills of one table of one source, in one book.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub book: &'a str,
    pub source: &'a str,
    pub reference_type: &'a str,
}

impl Scope<'_> {
    fn lock_name(&self) -> String {
        format!("daybook batches of {:?}", (self.book, self.source, self.reference_type))
    }
}

/// A book, locked against the closing of periods.
#[derive(Debug, Clone)]
pub struct Book {
    pub currency: String,
    pub minor_unit: u32,
    pub time_zone: String,
    pub calendar: Calendar,
}

/// State of a bill, as `ledger.sync_master_status.state` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its live entries say what its row says.
    Current,
    /// Its row cannot be posted; its entries say what it said before.
    Parked,
    /// The same, and an operator has said that it need not be posted.
    Resolved,
    /// Its row is gone, and its entries stay until somebody decides.
    Retained,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Current => "current",
            State::Parked => "parked",
            State::Resolved => "resolved",
            State::Retained => "retained",
        }
    }
}

/// A bill's row in `ledger.sync_master_status`.
#[derive(Debug, Clone)]
pub struct Status {
    pub reference_id: String,
    pub state: State,
    pub synchronisation: i64,
    /// Number of the bill's last entry.
    pub revision: i32,
    pub live_entry_ids: Vec<i64>,
    pub last_entry_id: Option<i64>,
    pub last_event_seq: Option<i64>,
    pub parked: Option<ParkedSpell>,
    /// Why its entries are retained, while they are.
    pub retained_because: Option<Retained>,
    /// What is odd about its row, which was posted all the same.
    pub warning: Option<String>,
    pub digests: Digests,
}

/// What a bill was last judged from, and what its entries amount to, as reconciliation compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// Of its row, as the source computed it; `None` where it had none, or one that is out of scope.
    pub row: Option<i64>,
    /// Of the version of the rule that judged it: [`crate::posting::rule::Rule::digest`].
    pub rule: Option<i64>,
    /// Of what its live entries amount to: [`crate::posting::fingerprint::fingerprint`].
    pub fingerprint: Option<i64>,
}

/// Why the entries of a bill stay although its row is gone, as `ledger.sync_master_status.retained_because` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// Its table was truncated.
    Truncate,
    /// The table's policy keeps the entries of deleted bills.
    Keep,
    /// The same, and somebody is to look.
    Alert,
    /// Too many bills of the table were gone at once.
    Brake,
}

impl Retained {
    fn as_str(self) -> &'static str {
        match self {
            Retained::Truncate => "truncate",
            Retained::Keep => "keep",
            Retained::Alert => "alert",
            Retained::Brake => "brake",
        }
    }

    fn parse(text: &str) -> Option<Retained> {
        [Retained::Truncate, Retained::Keep, Retained::Alert, Retained::Brake]
            .into_iter()
            .find(|of| of.as_str() == text)
    }
}

/// The last spell in which a bill was parked; kept when it has healed, so that its dead letter can be resolved again
/// after a crash.
#[derive(Debug, Clone)]
pub struct ParkedSpell {
    pub spell: i64,
    pub parked_at: DateTime<Utc>,
    pub reason: String,
    pub advice: String,
}

/// Takes part in synchronising a table's bills, until the transaction ends.
///
/// Whoever turns an event of the whole table into events of its bills waits for those who take part
/// ([`wait_for_batches`]), and reads afterwards which bills the ledger knows. Else a batch that read its rows before a
/// TRUNCATE would post a bill right after that list was made, and no event would be left to tell.
pub async fn join_batches(ledger: &Session, scope: Scope<'_>) -> Result<()> {
    let sql = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))";
    ledger.execute(sql, &[&scope.lock_name()]).await.doing("joining the table's batches")?;
    Ok(())
}

/// Waits until every batch of the table that is under way has ended, and holds others off until the transaction ends.
pub async fn wait_for_batches(ledger: &Session, scope: Scope<'_>) -> Result<()> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    ledger.execute(sql, &[&scope.lock_name()]).await.doing("waiting for the table's batches")?;
    Ok(())
}

/// Locks the bills, in two statements and key order (design, rule 1). `reference_ids` are sorted bytewise.
pub async fn lock_bills(ledger: &Session, scope: Scope<'_>, reference_ids: &[&str]) -> Result<Vec<Status>> {
    let Scope { book, source, reference_type } = scope;
    let parameters: Parameters<'_> = &[&book, &source, &reference_type, &reference_ids];
    ledger.execute(sql::INSERT_STATUS, parameters).await.doing("inserting the status of new bills")?;
    let rows = ledger.query(sql::LOCK_STATUS, parameters).await.doing("locking the bills")?;
    if rows.len() != reference_ids.len() {
        return Err(Error::Unexpected(format!("{} bills were locked instead of {}", rows.len(), reference_ids.len())));
    }
    rows.iter().map(status).collect()
}

fn status(row: &tokio_postgres::Row) -> Result<Status> {
    let state: &str = row.get(1);
    let parked = match (row.get(7), row.get(8), row.get(9), row.get(10)) {
        (Some(spell), Some(parked_at), Some(reason), Some(advice)) => {
            Some(ParkedSpell { spell, parked_at, reason, advice })
        }
        _ => None,
    };
    Ok(Status {
        reference_id: row.get(0),
        state: match state {
            "current" => State::Current,
            "parked" => State::Parked,
            "resolved" => State::Resolved,
            "retained" => State::Retained,
            other => {
                return Err(Error::Unexpected(format!("a bill's state is {other}, which this version does not know")));
            }
        },
        synchronisation: row.get(2),
        revision: row.get(3),
        live_entry_ids: row.get(4),
        last_entry_id: row.get(5),
        last_event_seq: row.get(6),
        parked,
        retained_because: row.get::<_, Option<&str>>(11).and_then(Retained::parse),
        warning: row.get(12),
        digests: Digests { row: row.get(13), rule: row.get(14), fingerprint: row.get(15) },
    })
}

/// Locks the book against closing, and reads what is closed.
pub async fn lock_book(ledger: &Session, book: &str) -> Result<Book> {
    let row = ledger.query_one("SELECT * FROM ledger.hold_book($1)", &[&book]).await.doing("locking the book")?;
    let currency: Option<String> = row.get("currency");
    let missing = || Error::NotInstalled(format!("the ledger has no book {book}: run `daybook install`"));
    let from: Vec<NaiveDate> = row.get("closed_from");
    let to: Vec<NaiveDate> = row.get("closed_to");
    Ok(Book {
        currency: currency.ok_or_else(missing)?,
        minor_unit: u32::try_from(row.get::<_, i16>("minor_unit")).unwrap_or_default(),
        time_zone: row.get("time_zone"),
        calendar: Calendar::new(from.into_iter().zip(to)).closing_cash(row.get("closes_cash")),
    })
}

/// The versions of a reference type's rule that are in force.
pub async fn load_rules(ledger: &Session, book: &str, reference_type: &str) -> Result<RuleSet> {
    let rows = ledger.query(sql::POSTING_RULES, &[&book, &reference_type]).await.doing("reading the posting rule")?;
    if rows.is_empty() {
        return Err(Error::TableUnreadable(format!(
            "book {book} has no posting rule for {reference_type}. Its events wait. Write one, and `daybook rules apply FILE`"
        )));
    }
    let unusable = |version: usize, problem: String| {
        Error::TableUnreadable(format!(
            "version {} of posting rule {reference_type} in book {book} is not usable: {problem}. Its events wait",
            version + 1
        ))
    };
    let definitions: Vec<&str> = rows.iter().map(|row| row.get("definition")).collect();
    let mut rules = RuleSet::parse(&definitions).map_err(|(version, error)| unusable(version, error.to_string()))?;
    for (at, (rule, row)) in rules.versions().iter().zip(&rows).enumerate() {
        let valid_from: Option<String> = row.get("valid_from");
        if rule.reference_type != reference_type {
            return Err(unusable(at, format!("it says reference_type = {:?}", rule.reference_type)));
        }
        if rule.valid_from.map(|day| day.to_string()) != valid_from {
            return Err(unusable(at, "it says another valid_from than it was applied with".into()));
        }
    }
    let versions = rows.iter().map(|row| row.get::<_, i32>("version").to_string());
    rules.versions_in_force = versions.collect::<Vec<_>>().join(" ");
    Ok(rules)
}

/// Compares the versions in force with those at hand (design, rule 8).
pub async fn check_rules(ledger: &Session, book: &str, rules: &RuleSet) -> Result<()> {
    let reference_type = rules.reference_type();
    let row =
        ledger.query_one(sql::POSTING_RULE_VERSIONS, &[&book, &reference_type]).await.doing("comparing the rule")?;
    match row.get::<_, &str>(0) == rules.versions_in_force {
        true => Ok(()),
        false => Err(Error::DefinitionChanged(reference_type.into())),
    }
}

/// Takes the brake on disappearances until the transaction ends, and returns how many bills of the table have been reversed
/// within its hour because their rows were gone.
pub async fn take_brake(ledger: &Session, scope: Scope<'_>) -> Result<i64> {
    let Scope { book, source, reference_type } = scope;
    let row = ledger.query_one(sql::TAKE_BRAKE, &[&book, &source, &reference_type]).await.doing("taking the brake")?;
    Ok(row.get::<_, i32>(0).into())
}

/// Counts so many more, under [`take_brake`].
pub async fn count_reversed(ledger: &Session, scope: Scope<'_>, count: i64) -> Result<()> {
    let Scope { book, source, reference_type } = scope;
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let parameters: Parameters<'_> = &[&book, &source, &reference_type, &count];
    ledger.execute(sql::COUNT_REVERSED, parameters).await.doing("counting for the brake")?;
    Ok(())
}

/// Writes the state of the bills that the batch synchronised, under their locks.
pub async fn update_status(ledger: &Session, scope: Scope<'_>, statuses: &[Status]) -> Result<()> {
    macro_rules! column {
        ($status:ident => $value:expr) => {
            statuses.iter().map(|$status| $value).collect::<Vec<_>>()
        };
    }
    let array_text = |ids: &[i64]| {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        format!("{{{}}}", ids.join(","))
    };
    let Scope { book, source, reference_type } = scope;
    let count = ledger
        .execute(
            sql::UPDATE_STATUS,
            &[
                &book,
                &source,
                &reference_type,
                &column!(s => s.reference_id.as_str()),
                &column!(s => s.state.as_str()),
                &column!(s => s.synchronisation),
                &column!(s => s.revision),
                &column!(s => array_text(&s.live_entry_ids)),
                &column!(s => s.last_entry_id),
                &column!(s => s.last_event_seq),
                &column!(s => s.parked.as_ref().map(|p| p.spell)),
                &column!(s => s.parked.as_ref().map(|p| p.parked_at)),
                &column!(s => s.parked.as_ref().map(|p| p.reason.as_str())),
                &column!(s => s.parked.as_ref().map(|p| p.advice.as_str())),
                &column!(s => s.retained_because.map(Retained::as_str)),
                &column!(s => s.warning.as_deref()),
                &column!(s => s.digests.row),
                &column!(s => s.digests.rule),
                &column!(s => s.digests.fingerprint),
            ],
        )
        .await
        .doing("writing the status of the bills")?;
    if count != statuses.len() as u64 {
        return Err(Error::Unexpected(format!(
            "the status of {count} bills was written instead of {}",
            statuses.len()
        )));
    }
    Ok(())
}

/// Which of the bills that the ledger knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Those that it holds something of.
    All,
    /// Those that the brake holds.
    Held,
}

/// A page of the bills that the ledger knows, after the given id.
pub async fn known_bills(
    ledger: &Session,
    scope: Scope<'_>,
    known: Known,
    after: &str,
    page: i64,
) -> Result<Vec<String>> {
    let Scope { book, source, reference_type } = scope;
    let rows = ledger
        .query(sql::KNOWN_BILLS, &[&book, &source, &reference_type, &after, &page, &(known == Known::Held)])
        .await
        .doing("reading the bills that the ledger knows")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
