//! `daybook rules apply` and `daybook attach`: the two steps from a rule file to posted bills.

use super::rows::Relation;
use super::{Apply, OneFile, Site, not_readable, read};
use crate::database::quote_literal;
use crate::error::{Error, Result};
use crate::options::Urls;
use crate::print;
use crate::switches::{connect_source, refused};

/// A table to attach, as its rule names it.
#[derive(Debug, clap::Args)]
pub struct Attach {
    #[command(flatten)]
    of: OneFile,
    /// Bills from before this day are out of scope, such as 2024-04-01
    #[arg(long, value_name = "DAY")]
    go_live: Option<chrono::NaiveDate>,
    /// What becomes of the entries of deleted bills: reverse, keep or alert [default: reverse]
    #[arg(long, value_name = "POLICY", value_parser = ["reverse", "keep", "alert"])]
    on_delete: Option<String>,
    /// How it is captured: by triggers, from the WAL, or both, where the WAL proves that the triggers missed nothing [default: as it is,
    /// at first trigger]
    #[arg(long, value_parser = ["trigger", "wal", "both"])]
    capture_mode: Option<String>,
    /// Print the statement for review instead of running it
    #[arg(long)]
    print: bool,
}

pub async fn apply(Apply { of: OneFile { urls, file }, replace }: Apply) -> Result<u8> {
    let site = Site::connect(&urls).await?;
    let rule = site.rule(&file).await?;
    site.with(&rule).await?;
    // Where another source of the book has the table, nothing is known of it here.
    let here = site.source.query_opt(include_str!("../../sql/rules/relation.sql"), &[&rule.reference_type]).await;
    let attached = match here.map_err(not_readable)? {
        Some(_) => Some(Relation::of(&site.source, &rule).await?),
        None => None,
    };
    if let Some(Relation { name, filter_columns: Some(filter), key, .. }) = attached {
        let stray =
            rule.column_names().into_iter().filter(|column| !filter.iter().chain(&key).any(|known| known == column));
        let stray: Vec<&str> = stray.collect();
        if !stray.is_empty() {
            return Err(Error::Usage(format!(
                "{}: it maps {} of {name}, whose changes leave no event yet: attach the table with this rule first, `daybook attach {}`",
                file.display(),
                stray.join(", "),
                file.display()
            )));
        }
    }
    let sql = "SELECT ledger.apply_rule($1, $2, $3, $4, $5)";
    let parameters: crate::database::Parameters<'_> =
        &[&site.book_name, &rule.reference_type, &rule.definition, &rule.valid_from, &replace];
    let applied = site.ledger.query_one(sql, parameters).await.map_err(|error| {
        match error.code().is_some_and(|state| state.code() == "P0001") {
            true => refused(error),
            false => not_readable(error),
        }
    })?;
    match applied.get::<_, bool>(0) {
        false => print::line(format_args!("nothing to do: this version of {} is in force", rule.reference_type)),
        true => print::line(format_args!(
            "{} is in force in book {} from {}. Every source of the book has the table's bills synchronised by it while \
             `daybook run` is at work; `daybook status` shows what waits",
            rule.reference_type,
            site.book_name,
            rule.valid_from.map_or("the beginning".into(), |day| day.to_string())
        )),
    }
    Ok(0)
}

/// Attaches the rule's table with the columns that it maps.
pub async fn attach(
    Attach { of: OneFile { urls, file }, go_live, on_delete, capture_mode, print }: Attach,
) -> Result<u8> {
    let rule = read(&file)?;
    let Some(table) = rule.table.as_ref().filter(|_| !rule.key.is_empty()) else {
        return Err(Error::Usage(format!(
            "{}: the rule names no table and key to attach: give it table = \"...\" and key = [\"...\"]",
            file.display()
        )));
    };
    let array = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
        format!("ARRAY[{}]", names.join(", "))
    };
    let key: Vec<&str> = rule.key.iter().map(String::as_str).collect();
    let mut columns = rule.column_names();
    columns.extend(rule.discount.iter().flat_map(|(given, result)| [given.as_str(), result.as_str()]));
    let mut seen = std::collections::BTreeSet::new();
    columns.retain(|column| seen.insert(*column));
    let mut statement = format!(
        "SELECT daybook.attach({}, {}, {}, {}",
        quote_literal(table),
        quote_literal(&rule.reference_type),
        array(&key),
        array(&columns)
    );
    if let Some(day) = go_live {
        statement.push_str(&format!(", go_live => '{day}'"));
    }
    if let Some(policy) = on_delete {
        statement.push_str(&format!(", on_delete => {}", quote_literal(&policy)));
    }
    if let Some(mode) = capture_mode {
        statement.push_str(&format!(", capture_mode => {}", quote_literal(&mode)));
    }
    statement.push_str(");");
    if print {
        print::line(statement);
        return Ok(0);
    }
    run(&urls, &statement).await?;
    print::line(format_args!(
        "{table} is attached as {0}; its changes are captured from now on. Next: `daybook rules apply {1}`, and `daybook backfill \
         {0}` for the bills from before",
        rule.reference_type,
        file.display()
    ));
    Ok(0)
}

async fn run(urls: &Urls, statement: &str) -> Result<()> {
    let source = connect_source(urls).await?;
    source.batch_execute(statement).await.map_err(|error| match error.code().map(|state| state.code()) {
        Some("42P01") => Error::Usage(format!("{}: check table in the rule file", crate::error::explain(&error))),
        _ => refused(error),
    })
}
