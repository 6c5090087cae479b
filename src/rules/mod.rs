//! `daybook rules` and `daybook attach`: rule files against live tables and the ledger. What a rule means is [`crate::posting`]'s.

mod apply;
mod check;
mod preview;
mod rows;

use std::path::PathBuf;

use clap::Subcommand;
use tokio_postgres::Client;

use crate::database::{Side, connect};
use crate::error::{Doing, Error, Result, explain, is_undefined};
use crate::identity::knows_time_zone;
use crate::ledger::Book;
use crate::options::Urls;
use crate::posting::entries::Calendar;
use crate::posting::rule::{Rule, RuleSet};
use crate::print;

pub use apply::{Attach, attach};

/// The rules that are shipped, and installed for a book that has none of the same reference type.
pub const BUILT_IN: &[&str] = &[
    include_str!("../../rules/consultation.toml"),
    include_str!("../../rules/pharmacy.toml"),
    include_str!("../../rules/lab.toml"),
    include_str!("../../rules/ultrasound.toml"),
];

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The rules in force, every version of each; or those that daybook ships
    Show(Show),
    /// Try a rule file on every row of its table, and tell each value that it would park
    Check(OneFile),
    /// What applying a rule file would change, without posting anything
    Preview(OneFile),
    /// Bring a rule file into force; the table's bills are synchronised by it through the queue
    Apply(Apply),
}

#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY [default: all]
    reference_type: Option<String>,
    /// The four that daybook ships, without asking any database
    #[arg(long)]
    built_in: bool,
}

#[derive(Debug, clap::Args)]
pub struct OneFile {
    #[command(flatten)]
    urls: Urls,
    /// The rule, in TOML
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct Apply {
    #[command(flatten)]
    of: OneFile,
    /// Replace the version that is valid from the same day, and judge its bills anew
    #[arg(long)]
    replace: bool,
}

pub async fn execute(command: Command) -> Result<u8> {
    match command {
        Command::Show(arguments) => show(arguments).await,
        Command::Check(arguments) => check::check(arguments).await,
        Command::Preview(arguments) => preview::preview(arguments).await,
        Command::Apply(arguments) => apply::apply(arguments).await,
    }
}

async fn show(Show { urls, reference_type, built_in }: Show) -> Result<u8> {
    let wanted = |of: &str| reference_type.as_deref().is_none_or(|wanted| wanted == of);
    let mut shown = 0;
    if built_in {
        for definition in BUILT_IN {
            let rule = Rule::parse(definition).map_err(|error| Error::Unexpected(error.to_string()))?;
            if wanted(&rule.reference_type) {
                shown += 1;
                print::line(definition);
            }
        }
    } else {
        let site = Site::connect(&urls).await?;
        let sql = include_str!("../../sql/rules/in_force.sql");
        for row in site.ledger.query(sql, &[&site.book_name]).await.map_err(not_readable)? {
            if wanted(row.get(0)) {
                shown += 1;
                let (of, version, from): (&str, i32, &str) = (row.get(0), row.get(1), row.get(2));
                let (hash, by): (&str, &str) = (row.get(3), row.get(4));
                print::line(format_args!(
                    "# {of}, version {version}, valid from {from}, sha256 {hash}, applied by {by}"
                ));
                print::line(row.get::<_, &str>(5));
            }
        }
    }
    match (shown, reference_type) {
        (0, Some(of)) => Err(Error::Usage(format!("there is no rule {of}"))),
        _ => Ok(0),
    }
}

/// A source and the book that it belongs to, looked at with the login role's own rights.
struct Site {
    source: Client,
    ledger: Client,
    source_name: String,
    book_name: String,
    book: Book,
}

fn not_readable(error: tokio_postgres::Error) -> Error {
    match is_undefined(&error) {
        true => Error::NotInstalled(format!("daybook is not installed here, or an older version: {}", explain(&error))),
        false => Error::Unreachable(format!(
            "{}. It takes the roles daybook_reader and, to read the bills, SELECT on their table; to apply, daybook_controller",
            explain(&error)
        )),
    }
}

impl Site {
    async fn connect(urls: &Urls) -> Result<Site> {
        let databases = urls.one()?;
        let source = connect(Side::Source, &databases.source).await?;
        let ledger = connect(Side::Ledger, &databases.ledger).await?;
        let settings =
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET extra_float_digits = 1; SET row_security = off";
        source.batch_execute(settings).await.doing("setting up the session")?;
        let names = source.query_one(include_str!("../../sql/status/source.sql"), &[]).await.map_err(not_readable)?;
        let (source_name, book_name): (String, String) = (names.get("source"), names.get("book"));
        let sql = include_str!("../../sql/rules/book.sql");
        let row = ledger.query_opt(sql, &[&book_name]).await.map_err(not_readable)?;
        let row = row.ok_or_else(|| Error::NotInstalled(format!("the ledger has no book {book_name}")))?;
        let closed_from: Vec<chrono::NaiveDate> = row.get("closed_from");
        let closed_to: Vec<chrono::NaiveDate> = row.get("closed_to");
        let book = Book {
            currency: row.get("currency"),
            minor_unit: u32::try_from(row.get::<_, i16>("minor_unit")).unwrap_or_default(),
            time_zone: row.get("time_zone"),
            calendar: Calendar::new(closed_from.into_iter().zip(closed_to)),
        };
        Ok(Site { source, ledger, source_name, book_name, book })
    }

    /// Reads and compiles a rule file, and compares it with what the ledger has: accounts and time zones.
    async fn rule(&self, file: &std::path::Path) -> Result<Rule> {
        let rule = read(file)?;
        let place = file.display();
        let accounts: Vec<&str> = rule.accounts().into_iter().collect();
        let sql = "SELECT array_agg(code ORDER BY code) FROM unnest($2::text[]) AS code
                   WHERE NOT EXISTS (SELECT FROM ledger.accounts WHERE book = $1 AND account_code = code)";
        let missing = self.ledger.query_one(sql, &[&self.book_name, &accounts]).await.map_err(not_readable)?;
        if let Some(missing) = missing.get::<_, Option<Vec<String>>>(0) {
            return Err(Error::Usage(format!(
                "{place}: accounts {} are not in the chart of book {}: correct the rule, or add them: `daybook accounts import`",
                missing.join(", "),
                self.book_name
            )));
        }
        if let Some(zone) = &rule.time_zone
            && !knows_time_zone(&self.source, zone).await?
        {
            return Err(Error::Usage(format!(
                "{place}: PostgreSQL knows no time zone {zone}: give one of pg_timezone_names, such as Europe/Madrid"
            )));
        }
        Ok(rule)
    }

    /// The versions that would be in force with this one: it joins the others, or replaces that of the same day.
    async fn with(&self, rule: &Rule) -> Result<RuleSet> {
        let sql = include_str!("../../sql/consume/posting_rules.sql");
        let rows = self.ledger.query(sql, &[&self.book_name, &rule.reference_type]).await.map_err(not_readable)?;
        let mut versions: Vec<(Option<String>, String)> =
            rows.iter().map(|row| (row.get("valid_from"), row.get("definition"))).collect();
        let first_day = rule.valid_from.map(|day| day.to_string());
        versions.retain(|(day, _)| *day != first_day);
        versions.push((first_day, rule.definition.clone()));
        versions.sort();
        let definitions: Vec<&str> = versions.iter().map(|(_, definition)| definition.as_str()).collect();
        RuleSet::parse(&definitions)
            .map_err(|(version, error)| Error::Usage(format!("version {} would not be usable: {error}", version + 1)))
    }
}

/// Reads and compiles a rule file.
fn read(file: &std::path::Path) -> Result<Rule> {
    let place = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| Error::Usage(format!("cannot read {place}: {error}")))?;
    Rule::parse(&text).map_err(|error| Error::Usage(format!("{place}: {error}")))
}
