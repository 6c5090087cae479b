//! What an operator switches: the SQL functions of the same names, called from the command line. A table is named by its reference
//! type or as SQL names it.

use tokio_postgres::Client;

use crate::database::{Side, connect};
use crate::error::{Error, Result, explain};
use crate::options::Urls;
use crate::print;

/// A table to switch.
#[derive(Debug, clap::Args)]
pub struct OneTable {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name
    table: String,
}

/// A table, or all of the source.
#[derive(Debug, clap::Args)]
pub struct TableOrSource {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name; left out: posting goes on after `daybook pause`
    table: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Release {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY
    reference_type: String,
    /// The bill; left out: every bill of the table that the brake holds
    reference_id: Option<String>,
}

/// Connects to a source as the login role itself.
pub async fn connect_source(urls: &Urls) -> Result<Client> {
    connect(Side::Source, &urls.one()?.source).await
}

/// The attached table that a person means, as (reference type, name for SQL).
pub async fn attached(source: &Client, table: &str) -> Result<(String, String)> {
    let sql = include_str!("../sql/attached_table.sql");
    match source.query(sql, &[&table]).await.map_err(refused)?.first() {
        Some(row) => Ok((row.get(0), row.get(1))),
        None => Err(Error::Usage(format!("no attached table is called {table}: `daybook status` lists them"))),
    }
}

/// What a function of ours refused, or what keeps us from calling it.
pub fn refused(error: tokio_postgres::Error) -> Error {
    let told = explain(&error);
    match error.code().map(|state| state.code()) {
        Some("P0001" | "55P03") => Error::Usage(told),
        Some("42501") => Error::Unreachable(format!("{told}. It takes a member of daybook_owner, or a superuser")),
        Some("3F000" | "42P01" | "42883") => Error::NotInstalled(format!(
            "daybook is not installed here, or an older version: {told}. Run `daybook install`"
        )),
        _ => Error::Unreachable(told),
    }
}

async fn call(source: &Client, sql: &str, parameters: crate::database::Parameters<'_>) -> Result<()> {
    source.execute(sql, parameters).await.map_err(refused)?;
    Ok(())
}

/// Stops the capture of a table, without a lock on it.
pub async fn suspend(arguments: OneTable) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let (reference_type, relation) = attached(&source, &arguments.table).await?;
    call(&source, "SELECT daybook.suspend($1::text::regclass)", &[&relation]).await?;
    print::line(format_args!(
        "{reference_type} is suspended: changes of {relation} are not captured until `daybook resume {reference_type}`"
    ));
    Ok(0)
}

/// Captures a table again and has it reconciled; or goes on posting.
pub async fn resume(arguments: TableOrSource) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let Some(table) = &arguments.table else {
        call(&source, "SELECT daybook.resume()", &[]).await?;
        print::line("posting goes on");
        return Ok(0);
    };
    let (reference_type, relation) = attached(&source, table).await?;
    call(&source, "SELECT daybook.resume($1::text::regclass)", &[&relation]).await?;
    print::line(format_args!("{reference_type} is captured again, and all of {relation} is being synchronised"));
    Ok(0)
}

/// Stops posting for the source, from the next batch on.
pub async fn pause(urls: Urls) -> Result<u8> {
    call(&connect_source(&urls).await?, "SELECT daybook.pause()", &[]).await?;
    print::line("posting is paused; changes go on being captured. Go on: `daybook resume`");
    Ok(0)
}

/// Reverses bills whose entries were retained when their rows disappeared.
pub async fn release(arguments: Release) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let Release { reference_type, reference_id, .. } = &arguments;
    match reference_id {
        Some(id) => {
            call(&source, "SELECT daybook.release($1, $2)", &[reference_type, id]).await?;
            print::line("queued: the bill is reversed by `daybook run`, if it has entries and no row");
        }
        None => {
            call(&source, "SELECT daybook.release_held($1)", &[reference_type]).await?;
            print::line(
                "queued: what the brake holds and has no row is reversed by `daybook run`; bills that a policy or a TRUNCATE retained \
                 are released one by one",
            );
        }
    }
    Ok(0)
}
