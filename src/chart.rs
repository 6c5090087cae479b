//! `daybook accounts`: the chart of accounts of a book.

use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{Table, presets};
use serde::Deserialize;

use crate::database::{Parameters, Side, connect_plainly};
use crate::error::{Error, Result, explain};
use crate::options::Urls;
use crate::print;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add and change accounts from a CSV file: account_code,account_name,account_type[,account_role,counted_as]
    Import(Import),
    /// The accounts of a book
    List(List),
}

#[derive(Debug, clap::Args)]
pub struct Import {
    #[command(flatten)]
    list: List,
    /// The file; account types are asset, liability, equity, income and expense; roles receivable and over_short; counted_as is the
    /// name by which a cashier counts it. A column that is left out stays as it is
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    urls: Urls,
    /// Book [default: the source's]
    #[arg(long)]
    book: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Account {
    account_code: String,
    account_name: String,
    account_type: String,
    #[serde(default)]
    account_role: Option<String>,
    #[serde(default)]
    counted_as: Option<String>,
}

/// What a file says of accounts; a column that it does not have says nothing.
struct Chart {
    accounts: Vec<Account>,
    has_roles: bool,
    has_counted_as: bool,
}

impl List {
    async fn open(&self) -> Result<(tokio_postgres::Client, String)> {
        let databases = self.urls.one()?;
        let ledger = connect_plainly(Side::Ledger, &databases.ledger).await?;
        let book = match &self.book {
            Some(book) => book.clone(),
            None => {
                let source = connect_plainly(Side::Source, &databases.source).await?;
                let names = source.query_one(include_str!("../sql/status/source.sql"), &[]).await.map_err(refused)?;
                names.get("book")
            }
        };
        Ok((ledger, book))
    }
}

fn refused(error: tokio_postgres::Error) -> Error {
    match error.code().map(|state| state.code()) {
        Some("42501") => Error::Unreachable(format!(
            "{}. It takes a member of daybook_controller (to look: daybook_reader)",
            explain(&error)
        )),
        _ => Error::Usage(explain(&error)),
    }
}

pub async fn execute(command: Command) -> Result<u8> {
    match command {
        Command::List(list) => {
            let (ledger, book) = list.open().await?;
            let sql =
                "SELECT account_code, account_name, account_type, coalesce(account_role, ''), coalesce(counted_as, '')
                       FROM ledger.accounts WHERE book = $1 ORDER BY 1";
            let mut table = Table::new();
            table.load_style(presets::ASCII_MARKDOWN);
            table.set_header(["code", "name", "type", "role", "counted as"]);
            for row in ledger.query(sql, &[&book]).await.map_err(refused)? {
                table.add_row((0..5).map(|at| row.get::<_, String>(at)));
            }
            print::line(table);
        }
        Command::Import(Import { list, file }) => {
            let Chart { accounts, has_roles, has_counted_as } = read(&file)?;
            let (ledger, book) = list.open().await?;
            macro_rules! column {
                ($account:ident => $value:expr) => {
                    accounts.iter().map(|$account| $value).collect::<Vec<_>>()
                };
            }
            let sql = include_str!("../sql/import_accounts.sql");
            let parameters: Parameters<'_> = &[
                &book,
                &column!(a => &a.account_code),
                &column!(a => &a.account_name),
                &column!(a => &a.account_type),
                &column!(a => &a.account_role),
                &column!(a => &a.counted_as),
                &has_roles,
                &has_counted_as,
            ];
            let changed = ledger.execute(sql, parameters).await.map_err(refused)?;
            print::line(format_args!("{changed} of {} accounts added or changed in book {book}", accounts.len()));
        }
    }
    Ok(0)
}

fn read(file: &std::path::Path) -> Result<Chart> {
    let place = file.display();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .map_err(|error| Error::Usage(format!("cannot read {place}: {error}")))?;
    let header = reader.headers().map_err(|error| Error::Usage(format!("cannot read {place}: {error}")))?.clone();
    let has = |column: &str| header.iter().any(|name| name == column);
    if let Some(unknown) = header.iter().skip(3).find(|name| !["account_role", "counted_as"].contains(name)) {
        return Err(Error::Usage(format!(
            "{place}: column {unknown:?} is unknown: after account_type, account_role and counted_as may come"
        )));
    }
    let mut accounts: Vec<Account> = Vec::new();
    for (at, record) in reader.deserialize::<Account>().enumerate() {
        let line = at + 2;
        let account = record.map_err(|error| {
            Error::Usage(format!(
                "{place}: line {line}: {error}. The first line is account_code,account_name,account_type; separated by commas, in UTF-8"
            ))
        })?;
        if accounts.iter().any(|other| other.account_code == account.account_code) {
            return Err(Error::Usage(format!("{place}: line {line}: account {} stands twice", account.account_code)));
        }
        if !["asset", "liability", "equity", "income", "expense"].contains(&account.account_type.as_str()) {
            return Err(Error::Usage(format!(
                "{place}: line {line}: account type {:?}: use asset, liability, equity, income or expense",
                account.account_type
            )));
        }
        if let Some(role) = account.account_role.as_deref().filter(|role| !["receivable", "over_short"].contains(role))
        {
            return Err(Error::Usage(format!(
                "{place}: line {line}: account role {role:?}: use receivable, over_short, or leave it empty"
            )));
        }
        accounts.push(account);
    }
    if accounts.is_empty() {
        return Err(Error::Usage(format!(
            "{place} holds no account: its first line is account_code,account_name,account_type, in UTF-8"
        )));
    }
    Ok(Chart { accounts, has_roles: has("account_role"), has_counted_as: has("counted_as") })
}
