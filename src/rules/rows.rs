//! Every row of a bill table, as a rule reads it: a page at a time, in one snapshot.

use tokio_postgres::Client;

use super::not_readable;
use crate::capture::read_expression;
use crate::database::quote_literal;
use crate::error::{Doing, Error, Result};
use crate::posting::rule::{Rule, RuleSet};

/// How many rows are held at a time.
const PAGE_ROWS: usize = 2_000;

/// A bill table, attached or not.
pub struct Relation {
    /// As SQL names it.
    pub name: String,
    pub key: Vec<String>,
    /// The columns whose changes leave an event; `None` where it is not attached.
    pub filter_columns: Option<Vec<String>>,
    pub go_live: Option<chrono::NaiveDate>,
}

/// A bill's canonical key and the texts of the rule's columns.
pub struct Bill {
    pub reference_id: String,
    pub row: Vec<Option<String>>,
}

impl Relation {
    /// The table that is attached under the rule's reference type, else the one that the rule names.
    pub async fn of(source: &Client, rule: &Rule) -> Result<Relation> {
        let sql = include_str!("../../sql/rules/relation.sql");
        let row = source.query_opt(sql, &[&rule.reference_type]).await.map_err(not_readable)?;
        if let Some(row) = row {
            let (name, key): (String, Vec<String>) = (row.get(0), row.get(1));
            let same = "SELECT $1::text IS NULL OR to_regclass($1) = to_regclass($2)";
            let same = source.query_one(same, &[&rule.table, &name]).await.map_err(|error| {
                Error::Usage(format!(
                    "table {}: {}",
                    rule.table.clone().unwrap_or_default(),
                    crate::error::explain(&error)
                ))
            })?;
            if !same.get::<_, bool>(0) || !(rule.key.is_empty() || rule.key == key) {
                return Err(Error::Usage(format!(
                    "{} is attached to {name} by its key {}, and the rule names another table or key: correct it, or choose another \
                     reference_type",
                    rule.reference_type,
                    key.join(", ")
                )));
            }
            return Ok(Relation { name, key, filter_columns: Some(row.get(2)), go_live: row.get(3) });
        }
        let Some(table) = rule.table.clone().filter(|_| !rule.key.is_empty()) else {
            return Err(Error::Usage(format!(
                "no table is attached as {}, and the rule names none: give it table = \"...\" and key = [\"...\"]",
                rule.reference_type
            )));
        };
        let found =
            "SELECT (SELECT oid::regclass::text FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p'))";
        let found = source.query_one(found, &[&table]).await;
        match found.map_err(|error| Error::Usage(format!("table {table}: {}", crate::error::explain(&error))))?.get(0) {
            Some(name) => Ok(Relation { name, key: rule.key.clone(), filter_columns: None, go_live: None }),
            None => Err(Error::Usage(format!(
                "there is no table {table} in the source database; quote what needs it: table = '\"Caja\".\"Factura\"'"
            ))),
        }
    }

    /// Says what keeps the table from being captured with this rule.
    pub async fn check(&self, source: &Client, rule: &Rule) -> Result<()> {
        let sql = "SELECT daybook.check_attachable($1::text::regclass, $2, $3, $4, 'trigger')";
        let columns = rule.column_names();
        let checked = source.execute(sql, &[&self.name, &rule.reference_type, &self.key, &columns]).await;
        checked.map_err(crate::switches::refused)?;
        Ok(())
    }

    /// What reads as text runs no code of the application's, least of all with a DBA's rights.
    async fn refuse_foreign_types(&self, source: &Client, rules: &RuleSet) -> Result<()> {
        let code = "SELECT array_to_string(daybook.code_in_plans($1::text::regclass), ', ')";
        let code: String = source.query_one(code, &[&self.name]).await.map_err(not_readable)?.get(0);
        if !code.is_empty() {
            return Err(Error::Usage(format!(
                "an index, a statistics object or a partition of {} calls {code}, code of the application's own, which would run as \
                 soon as the table is read: look at what it does, and let a superuser own it, or drop what calls it",
                self.name
            )));
        }
        let columns: Vec<&str> = rules.columns().iter().map(|column| column.name.as_str()).collect();
        let sql = include_str!("../../sql/rules/unsafe_columns.sql");
        let foreign: Vec<String> = source.query_one(sql, &[&self.name, &columns]).await.map_err(not_readable)?.get(0);
        match foreign.is_empty() {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "{} of {} have a type of the application's own, and reading it could run the application's code: map columns with \
                 types of PostgreSQL's, or an enum without casts",
                foreign.join(", "),
                self.name
            ))),
        }
    }

    /// Gives every row to `see`, a page at a time.
    pub async fn each(
        &self,
        source: &Client,
        rules: &RuleSet,
        time_zone: &str,
        mut see: impl AsyncFnMut(&[Bill]) -> Result<()>,
    ) -> Result<()> {
        source
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .doing("beginning to read the bills")?;
        let read = async {
            self.refuse_foreign_types(source, rules).await?;
            let expression = "SELECT daybook.key_expression('bill', $1)";
            let key: String = source.query_one(expression, &[&self.key]).await.map_err(not_readable)?.get(0);
            let zone = quote_literal(time_zone);
            let columns = rules.columns().iter().map(|column| format!(", {}", read_expression(column, &zone)));
            let declare = format!(
                "DECLARE bills NO SCROLL CURSOR FOR SELECT {key}{} FROM {} AS bill",
                columns.collect::<String>(),
                self.name
            );
            source.batch_execute(&declare).await.map_err(not_readable)?;
            let fetch = source.prepare(&format!("FETCH {PAGE_ROWS} FROM bills")).await.map_err(not_readable)?;
            loop {
                let rows = source.query(&fetch, &[]).await.map_err(not_readable)?;
                let bill = |row: &tokio_postgres::Row| Bill {
                    reference_id: row.get(0),
                    row: (1..row.len()).map(|at| row.get(at)).collect(),
                };
                let page: Vec<Bill> = rows.iter().map(bill).collect();
                if page.is_empty() {
                    return Ok(());
                }
                see(&page).await?;
            }
        };
        let result = read.await;
        source.batch_execute("ROLLBACK").await.doing("ending the reading of the bills")?;
        result
    }
}
