//! `daybook verify`: the ledger proven by itself, without a look at any bill.
//!
//! [`blocks`] walks the chain and finds what was changed, deleted, inserted or reordered after it was sealed; [`heads`] compares it with
//! heads that were published, which finds a chain that was rewritten with all its hashes; [`journal`] looks at what the journal's
//! guards demand, once more and in plain SQL; [`standing`] whether the guards stand.
//!
//! Nothing is written or locked, and no snapshot is held for longer than one bounded statement takes, whatever the size of the
//! ledger. Each statement has plans of its own, so that a consumer's session will do.

mod blocks;
pub mod heads;
mod journal;
mod standing;

use std::path::PathBuf;

use serde::Serialize;
use tokio_postgres::Row;

use crate::chain::head::{self, Head};
use crate::database::{Parameters, Session, Side};
use crate::error::{Doing, Error, Result};
use crate::options::Urls;
use crate::print;
use crate::report::{failed, look, printable};
use heads::Heads;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    urls: Urls,
    /// Book [default: every book of the ledger]
    #[arg(long)]
    book: Option<String>,
    /// Compare the chain with heads that were published, one JSON object a line: head_file of daybook.toml, or what a webhook kept
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is wrong with an entry, or with the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is not as it was sealed: changed, deleted, inserted, reordered; or the chain itself is not whole.
    Tampered,
    /// Debits and credits differ, or lines, total or currency are not those of a whole entry.
    Unbalanced,
    /// Lines without an entry.
    OrphanLine,
    /// A reversal that does not mirror an entry of its own bill.
    Reversal,
    /// The status of a bill is not what its entries say.
    Status,
    /// Posted into a closed period, or a period that is not as it was logged.
    Period,
    /// It does not tell what caused it, or names a rule or an account that is not known.
    Provenance,
    /// A guard of the ledger's tables is missing, off or changed.
    Guard,
}

impl Kind {
    fn parse(text: &str) -> Result<Kind> {
        match text {
            "unbalanced" => Ok(Kind::Unbalanced),
            "orphan_line" => Ok(Kind::OrphanLine),
            "reversal" => Ok(Kind::Reversal),
            "status" => Ok(Kind::Status),
            "period" => Ok(Kind::Period),
            "provenance" => Ok(Kind::Provenance),
            _ => Err(Error::Unexpected(format!("no kind of finding is called {text}"))),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Tampered => "tampered",
            Kind::Unbalanced => "unbalanced",
            Kind::OrphanLine => "orphan_line",
            Kind::Reversal => "reversal",
            Kind::Status => "status",
            Kind::Period => "period",
            Kind::Provenance => "provenance",
            Kind::Guard => "guard",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Kind::Tampered => {
                "find out who had superuser rights since it was sealed; compare with a backup from before, and restore it"
            }
            Kind::Unbalanced | Kind::OrphanLine | Kind::Reversal => {
                "the guards of the journal were passed by: compare with a backup, and restore it"
            }
            Kind::Status => "an entry or the status was written past daybook: compare with a backup, and restore it",
            Kind::Period => {
                "a guard was passed by, or the period was changed past ledger.close_period: compare with a backup"
            }
            Kind::Provenance => "it was not posted by daybook, or what it names was removed: compare with a backup",
            Kind::Guard => "`daybook doctor` tells the statement that mends it",
        }
    }
}

/// A bill, as the ledger names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bill {
    pub source: String,
    pub reference_type: String,
    pub reference_id: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub entry_id: Option<i64>,
    /// Position of the entry in the chain, from 1, where that is known.
    pub entry_number: Option<i64>,
    pub bill: Option<Bill>,
    /// What is wrong and what to do, in one line.
    pub message: String,
}

impl Finding {
    fn new(kind: Kind, problem: impl std::fmt::Display) -> Finding {
        let message = format!("{problem}; {}", kind.advice());
        Finding { kind, entry_id: None, entry_number: None, bill: None, message }
    }

    /// Of a row with kind, entry, source, reference type, reference id, problem.
    fn of(row: &Row) -> Result<Finding> {
        let finding = Finding::new(Kind::parse(row.get(0))?, row.get::<_, &str>(5));
        Ok(Finding { entry_id: row.get(1), bill: bill(row.get(2), row.get(3), row.get(4)), ..finding })
    }
}

fn bill(source: Option<&str>, reference_type: Option<&str>, reference_id: Option<&str>) -> Option<Bill> {
    Some(Bill { source: source?.into(), reference_type: reference_type?.into(), reference_id: reference_id?.into() })
}

/// So many findings are told one by one; a ledger that was rewritten has as many as entries.
const FINDINGS_MAX: usize = 1_000;

/// What was found in one book.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub book: String,
    pub entries: i64,
    /// Entries that are in no block yet; no finding.
    pub unsealed: i64,
    pub blocks: i64,
    /// End of the chain.
    pub head: Option<Head>,
    /// Published heads that were compared with it.
    pub heads_compared: usize,
    /// Lines of the file that could not be read, such as one that a crash has cut.
    pub heads_unreadable: usize,
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub findings_left_out: u64,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, finding: Finding) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(finding),
            false => self.findings_left_out += 1,
        }
    }

    /// The same for a terminal.
    pub fn to_text(&self) -> String {
        let Report { book, entries, unsealed, blocks, .. } = self;
        let mut lines =
            vec![format!("book {book}: {entries} entries, {blocks} blocks, {unsealed} entries not sealed yet")];
        if let Some(Head { block, entry_number, hash, sealed_at, .. }) = &self.head {
            let sealed_at = sealed_at.format("%Y-%m-%dT%H:%M:%SZ");
            lines.push(format!("head: block {block}, entry number {entry_number}, sealed at {sealed_at}, {hash}"));
        }
        if self.heads_compared + self.heads_unreadable > 0 {
            let Report { heads_compared, heads_unreadable, .. } = self;
            lines.push(format!("published heads: {heads_compared} compared, {heads_unreadable} lines unreadable"));
        }
        for Finding { kind, entry_id, entry_number, bill, message } in &self.findings {
            let mut place = Vec::new();
            place.extend(entry_id.map(|id| format!("entry {id}")));
            place.extend(entry_number.map(|number| format!("number {number}")));
            place.extend(bill.as_ref().map(|bill| {
                let Bill { source, reference_type, reference_id } = bill;
                printable(&format!("{reference_type} {reference_id} of source {source}"))
            }));
            let place = if place.is_empty() { String::new() } else { format!(" {}:", place.join(", ")) };
            lines.push(format!("{}:{place} {message}", kind.as_str()));
        }
        match (self.findings.len(), self.findings_left_out) {
            (0, _) => lines.push("sound".into()),
            (_, 0) => {}
            (_, more) => lines.push(format!("and {more} more findings")),
        }
        lines.join("\n")
    }
}

/// Verifies the books; the exit code is 1 where anything was found.
pub async fn run(Arguments { urls, book, against, json }: Arguments) -> Result<u8> {
    let databases = urls.one()?;
    let client = look(Side::Ledger, &databases.ledger).await?;
    let rows = client.query(include_str!("../../sql/report/books.sql"), &[]).await.map_err(failed(Side::Ledger))?;
    let mut books: Vec<String> = rows.iter().map(|row| row.get("book")).collect();
    if let Some(book) = book {
        if !books.contains(&book) {
            let known = books.join(", ");
            return Err(Error::Usage(format!("the ledger has no book {}: it has {known}", printable(&book))));
        }
        books = vec![book];
    }
    // Before the chains are looked at, which only grow.
    let heads = against.as_deref().map(Heads::read).transpose()?;
    if let (Some(heads), Some(path)) = (&heads, &against)
        && !books.iter().any(|book| heads.has(book))
    {
        let books = books.join(", ");
        return Err(Error::Usage(format!(
            "{} holds no head of book {books}: name the file that heads are appended to",
            path.display()
        )));
    }
    let ledger = Session::new(client);
    let mut reports = Vec::new();
    for book in &books {
        reports.push(verify(&ledger, book, heads.as_ref()).await?);
    }
    match json {
        true => {
            let text = serde_json::to_string_pretty(&reports);
            print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
        }
        false => reports.iter().for_each(|report| print::line(report.to_text())),
    }
    Ok(u8::from(!reports.iter().all(Report::is_sound)))
}

/// Verifies one book. The session may be a consumer's; its settings stay as they are. Fails where the ledger cannot be read.
pub async fn verify(ledger: &Session, book: &str, against: Option<&Heads>) -> Result<Report> {
    let plain = Plain { ledger };
    let mut report = Report {
        book: book.into(),
        entries: 0,
        unsealed: 0,
        blocks: 0,
        head: head::head(ledger, book).await?,
        heads_compared: 0,
        heads_unreadable: against.map_or(0, |heads| heads.unreadable),
        findings: Vec::new(),
        findings_left_out: 0,
    };
    // What was sealed up to here is compared with the journal as it is afterwards.
    let chain = plain.ask(include_str!("../../sql/verify/chain.sql"), &[&book]).await?;
    let (mark, last_block) = chain.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
    standing::look(&plain, &mut report).await?;
    blocks::walk(&plain, last_block, against, &mut report).await?;
    journal::look(&plain, mark, &mut report).await?;
    Ok(report)
}

/// Asks with plans that suit whole ranges, whatever the session's settings are.
struct Plain<'a> {
    ledger: &'a Session,
}

const PLAIN_PLANS: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
    SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; \
    SET LOCAL enable_material = on; SET LOCAL enable_nestloop = on; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off; SET LOCAL row_security = off; \
    SET LOCAL statement_timeout = '15min'";

impl Plain<'_> {
    async fn ask(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        let doing = "verifying the ledger";
        self.ledger.batch_execute(PLAIN_PLANS).await.doing(doing)?;
        let rows = self.ledger.query(sql, parameters).await;
        match &rows {
            Ok(_) => self.ledger.commit().await.doing(doing)?,
            Err(_) => {
                let _ = self.ledger.rollback().await; // a lost connection has rolled back
            }
        }
        rows.doing(doing)
    }
}
