//! `daybook closure`: a site's day of cash, opened with a float, counted by a person, closed, reopened, shown. The functions in the ledger
//! decide.

mod day;
mod form;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use clap::Subcommand;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Row};

use crate::database::{Parameters, Side, connect_plainly};
use crate::error::{Error, Result, explain, is_undefined};
use crate::options::Urls;
use crate::print;
use crate::report::{self, Book, check_order, choose_book, failed, look, printable, snapshot};
use day::Day;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open a day with what lies in the drawer in the morning
    Open(Open),
    /// Keep what a person counted; a recount is another count
    Count(Count),
    /// Close a counted day, and post what differs; bills that come later go to the next open day
    Close(Close),
    /// Open a closed day again: its difference is reversed. For controllers
    Reopen(Reopen),
    /// A day: counted, expected and different, and the bills that came too late
    Show(Show),
    /// The days, latest first
    List(List),
}

#[derive(Debug, clap::Args)]
pub struct Place {
    #[command(flatten)]
    urls: Urls,
    /// Book [default: the ledger's only one, else the source's]
    #[arg(long)]
    book: Option<String>,
}

/// Which day of which site.
#[derive(Debug, clap::Args)]
pub struct Which {
    #[command(flatten)]
    place: Place,
    /// Site, as the journal's lines name it: by default the name of the source
    site: String,
    /// Day, such as 2024-03-05
    day: String,
}

#[derive(Debug, clap::Args)]
pub struct Open {
    #[command(flatten)]
    which: Which,
    /// What lies in the drawer in the morning
    #[arg(long, default_value = "0", value_name = "AMOUNT", allow_negative_numbers = true)]
    float: String,
    /// The account of the drawer's money, by its code or what it is counted as
    #[arg(long, default_value = "cash", value_name = "ACCOUNT")]
    drawer: String,
}

#[derive(Debug, clap::Args)]
pub struct Count {
    #[command(flatten)]
    which: Which,
    /// What was counted, such as cash=12500.50 card=300; cash with the float. Accounts by code or what they are counted as
    #[arg(required = true, value_name = "ACCOUNT=AMOUNT")]
    counted: Vec<String>,
    /// Kept with the count
    #[arg(long)]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Close {
    #[command(flatten)]
    which: Which,
    /// Kept with the closing, such as what explains a difference
    #[arg(long)]
    note: Option<String>,
    /// Although bills are queued; takes a note
    #[arg(long)]
    force: bool,
    /// Wait so long for the queue to run empty
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    wait: u64,
}

#[derive(Debug, clap::Args)]
pub struct Reopen {
    #[command(flatten)]
    which: Which,
    /// Kept with the reopening
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    which: Which,
    /// An earlier spell of a day that was reopened [default: the last]
    #[arg(long, value_name = "NUMBER")]
    spell: Option<i32>,
    /// As CSV, one row an account, to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// As a page to be printed (HTML), to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// Only of this site
    #[arg(long)]
    site: Option<String>,
    /// From this day on
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Until this day
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
}

pub async fn execute(command: Command) -> Result<u8> {
    match command {
        Command::Open(open) => self::open(open).await,
        Command::Count(count) => self::count(count).await,
        Command::Close(close) => self::close(close).await,
        Command::Reopen(reopen) => self::reopen(reopen).await,
        Command::Show(show) => self::show(show).await,
        Command::List(list) => self::list(list).await,
    }
}

impl Place {
    async fn book(&self, ledger: &mut Client) -> Result<Book> {
        let databases = self.urls.one()?;
        choose_book(&databases, &snapshot(ledger).await?, self.book.as_deref()).await
    }
}

impl Which {
    fn day(&self) -> Result<NaiveDate> {
        let told = report::day("day", Some(&self.day)).ok().flatten();
        told.ok_or_else(|| Error::Usage(format!("{} is no day: write it like 2024-03-31", printable(&self.day))))
    }

    async fn ledger(&self) -> Result<(Client, Book)> {
        let mut ledger = connect_plainly(Side::Ledger, &self.place.urls.one()?.ledger).await?;
        let book = self.place.book(&mut ledger).await?;
        Ok((ledger, book))
    }
}

/// An amount as a person writes it, without rounding anything.
fn amount(of: &str, text: &str) -> Result<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let told = (plain(whole) && plain(decimals)).then(|| Decimal::from_str_exact(text).ok()).flatten();
    told.ok_or_else(|| Error::Usage(format!("{} is no amount of {of}: write it like 1250.50", printable(text))))
}

/// `cash=1250.50 card=300` as the function takes it: amounts as texts.
fn counted(words: &[String]) -> Result<serde_json::Value> {
    let mut counted = serde_json::Map::new();
    for word in words {
        let Some((account, text)) = word.split_once('=') else {
            return Err(Error::Usage(format!("{} names no amount: write it like cash=1250.50", printable(word))));
        };
        let account = account.trim();
        let amount = amount(&printable(account), text.trim())?;
        if counted.insert(account.into(), amount.to_string().into()).is_some() {
            return Err(Error::Usage(format!("{} stands twice: name each account once", printable(account))));
        }
    }
    Ok(counted.into())
}

fn refused(error: tokio_postgres::Error) -> Error {
    // The functions speak to psql; here it is options and commands.
    let told = explain(&error).replace("force => true with a note", "--force with --note");
    let told = told.replace("note => '...', which", "--note ..., which");
    match error.code().map(|state| state.code()) {
        Some("P0001" | "55006") => Error::Usage(told),
        Some("42501") => Error::Unreachable(format!(
            "{told}. It takes a member of daybook_cashier; to reopen, of daybook_controller; to look, of either or of daybook_reader"
        )),
        _ if is_undefined(&error) => {
            Error::NotInstalled(format!("{told}: install the ledger, or this version of it, by `daybook install`"))
        }
        _ => Error::Unreachable(told),
    }
}

async fn ask(ledger: &Client, sql: &str, parameters: Parameters<'_>) -> Result<Row> {
    ledger.query_one(sql, parameters).await.map_err(refused)
}

async fn open(Open { which, float, drawer }: Open) -> Result<u8> {
    let (day, float) = (which.day()?, amount("the float", &float)?);
    let (ledger, book) = which.ledger().await?;
    let sql = "SELECT ledger.open_cash_day($1, $2, $3, $4, $5)";
    ask(&ledger, sql, &[&book.book, &which.site, &day, &float, &drawer]).await?;
    print::line(format_args!("{day} of site {} is open, with a float of {float}", printable(&which.site)));
    Ok(0)
}

async fn count(Count { which, counted: words, note }: Count) -> Result<u8> {
    let (day, counted) = (which.day()?, counted(&words)?);
    let (ledger, book) = which.ledger().await?;
    let sql = "SELECT ledger.count_cash($1, $2, $3, $4, $5)";
    let row = ask(&ledger, sql, &[&book.book, &which.site, &day, &counted, &note]).await?;
    let number: i32 = row.get(0);
    print::line(format_args!("count {number} of {day} of site {} is kept", printable(&which.site)));
    Ok(0)
}

async fn close(Close { which, note, force, wait }: Close) -> Result<u8> {
    let day = which.day()?;
    let (ledger, book) = which.ledger().await?;
    let until = Instant::now() + Duration::from_secs(wait);
    let sql = "SELECT ledger.close_cash_day($1, $2, $3, $4, $5)";
    let entry: Option<i64> = loop {
        match ledger.query_one(sql, &[&book.book, &which.site, &day, &note, &force]).await {
            Ok(row) => break row.get(0),
            // What is in flight just now ends within milliseconds; what stays is told.
            Err(error) if error.code().is_some_and(|of| of.code() == "55006") && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(refused(error)),
        }
    };
    let site = printable(&which.site);
    match entry {
        Some(entry) => print::line(format_args!("{day} of site {site} is closed; what differs is entry {entry}")),
        None => print::line(format_args!("{day} of site {site} is closed; nothing differs")),
    }
    Ok(0)
}

async fn reopen(Reopen { which, reason }: Reopen) -> Result<u8> {
    let day = which.day()?;
    let (ledger, book) = which.ledger().await?;
    let row = ask(&ledger, "SELECT ledger.reopen_cash_day($1, $2, $3, $4)", &[&book.book, &which.site, &day, &reason])
        .await?;
    let site = printable(&which.site);
    match row.get::<_, Option<i64>>(0) {
        Some(entry) => {
            print::line(format_args!("{day} of site {site} is open again; entry {entry} reverses its difference"))
        }
        None => print::line(format_args!("{day} of site {site} is open again")),
    }
    Ok(0)
}

async fn show(show: Show) -> Result<u8> {
    let Show { which, spell, csv, page, json } = show;
    let asked = which.day()?;
    let mut client = look(Side::Ledger, &which.place.urls.one()?.ledger).await?;
    let book = which.place.book(&mut client).await?;
    let ledger = snapshot(&mut client).await?;
    let Some(day) = Day::read(&ledger, &book, &which.site, asked, spell).await? else {
        eprintln!(
            "daybook: the cash of site {} on {asked} was never opened{}: `daybook closure list` has the days",
            printable(&which.site),
            spell.map(|spell| format!(" so often as spell {spell}")).unwrap_or_default()
        );
        return Ok(1);
    };
    if let Some(path) = &csv {
        put(path, &form::csv(&day)?)?;
    }
    if let Some(path) = &page {
        put(path, &form::page(&day)?)?;
    }
    if json {
        let text = serde_json::to_string_pretty(&day).map_err(|error| Error::Unexpected(error.to_string()))?;
        print::line(text);
    } else if csv.is_none() && page.is_none() {
        print::line(form::text(&day).trim_end());
    }
    Ok(0)
}

/// Writes beside the file and puts it into place when it is whole.
fn put(path: &Path, text: &str) -> Result<()> {
    if path == Path::new("-") {
        print::text(text);
        return Ok(());
    }
    let failed = |source| Error::Io { doing: format!("writing {}", path.display()), source };
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return std::fs::write(path, text).map_err(failed);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path)).map_err(failed)
}

async fn list(List { place, site, from, to }: List) -> Result<u8> {
    let (from, to) = (report::day("from", from.as_deref())?, report::day("to", to.as_deref())?);
    check_order(from, to)?;
    let mut client = look(Side::Ledger, &place.urls.one()?.ledger).await?;
    let book = place.book(&mut client).await?;
    let sql = include_str!("../../sql/report/cash_days.sql");
    let ledger = snapshot(&mut client).await?;
    day::use_zone_of(&ledger, &book).await?;
    let rows = ledger.query(sql, &[&book.book, &site, &from, &to, &book.minor_unit]).await;
    let rows = rows.map_err(failed(Side::Ledger))?;
    let header =
        ["site", "day", "state", "spell", "float", "expected", "counted", "difference", "closed at", "closed by"];
    let cells = rows
        .iter()
        .map(|row| std::array::from_fn(|at| printable(&row.get::<_, Option<String>>(at).unwrap_or_default())));
    print::line(form::table(&header, cells, 4..8));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_taken_word_for_word_or_not_at_all() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let told = counted(&words("cash=12500.50 CARD=-300 1030=0")).expect("is understood");
        assert_eq!(told, serde_json::json!({ "cash": "12500.50", "CARD": "-300", "1030": "0" }));
        let table = [
            ("cash", "cash names no amount"),
            ("cash=", " is no amount of cash"),
            ("cash=1,000", "1,000 is no amount of cash"),
            ("cash=1e3", "1e3 is no amount"),
            ("cash=NaN", "NaN is no amount"),
            ("cash=+5", "+5 is no amount"),
            ("cash=.5", ".5 is no amount"),
            ("cash=5.", "5. is no amount"),
            ("cash=99999999999999999999999999999999", "is no amount"),
            ("cash=1 cash=2", "cash stands twice"),
        ];
        for (text, part) in table {
            let told = counted(&words(text)).expect_err(text).to_string();
            assert!(told.contains(part), "{text}: {told}");
        }
    }
}
