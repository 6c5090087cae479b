//! Reading a bill table for reconciliation: its digests by buckets, some buckets opened, and its rows; a stretch of the key's order at a
//! time, each in a transaction of its own, so that whoever alters the table waits for a moment only.

use std::collections::VecDeque;

use fallible_iterator::FallibleIterator;
use postgres_protocol::types::{ArrayValues, array_from_sql};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type, accepts};

use super::clinic::RowRule;
use crate::capture::{Table, read_expression};
use crate::database::{Session, quote_identifier};
use crate::error::{Doing, Error, Result};
use crate::key;
use crate::posting::rule::RuleSet;

/// So many rows a stretch that is added up: some tenths of a second. What is asked between two stretches, and an answer's way, keep the
/// server and this process busy by turns; each turn may be on the application's processor.
const STRETCH_ROWS: i64 = 200_000;

/// So many ends of stretches are looked for at a time, so that there are fewer such turns.
const ENDS_MAX: i64 = 4;

/// A place in the key's order, as texts: the end of a stretch. `None`: before the first row, or after the last.
pub(super) type Place = Option<Vec<String>>;

/// A part of a table, in the key's order: what lies beyond one place, up to another.
pub(super) struct Stretch {
    after: Place,
    end: Place,
}

/// The stretches of a table, one by one. Every row lies in one of them, whatever is written meanwhile: each begins where the one before
/// ended, and the last one has no end.
pub(super) struct Stretches {
    /// Where the next one begins; `None` where there is no other.
    after: Option<Place>,
    /// Where the next ones end, as far as that was asked.
    ends: VecDeque<Place>,
}

impl Stretches {
    pub fn new() -> Self {
        Stretches { after: Some(None), ends: VecDeque::new() }
    }

    pub async fn next(&mut self, reading: &Reading<'_>, source: &Session) -> Result<Option<Stretch>> {
        let Some(after) = self.after.take() else { return Ok(None) };
        if self.ends.is_empty() {
            let ends = reading.ends_of_stretches(source, after.as_ref()).await?;
            let is_the_rest = (ends.len() as i64) < ENDS_MAX;
            self.ends.extend(ends.into_iter().map(Some));
            self.ends.extend(is_the_rest.then_some(None));
        }
        let end = self.ends.pop_front().flatten();
        self.after = end.clone().map(Some);
        Ok(Some(Stretch { after, end }))
    }
}

/// A row as the posting function takes it.
pub(super) struct RowRead {
    pub reference_id: String,
    pub digest: i64,
    /// Whether it may be in scope, by its dates.
    pub is_in_scope: bool,
    pub values: Vec<Option<String>>,
}

/// Rows as the server told them, in one answer: so it has read them all before this process has something to do, and one processor is busy
/// at a time. Their texts come in one array, row by row, which is taken apart one row at a time.
pub(super) struct Rows {
    answer: Row,
    columns: usize,
    /// How many of the clinic's rules were asked.
    pub asked: usize,
}

impl Rows {
    pub fn iter(&self) -> impl Iterator<Item = Result<RowRead>> + '_ {
        let mut texts = self.texts();
        self.digests().zip(array(&self.answer, 2)).map(move |(digest, is_in_scope)| {
            let id = texts.next()?.ok_or_else(|| Error::Unexpected("reading rows: one has no key".into()))?;
            let values = (0..self.columns).map(|_| Ok(texts.next()?.map(str::to_string))).collect::<Result<_>>()?;
            Ok(RowRead { reference_id: id.to_string(), digest, is_in_scope, values })
        })
    }

    /// Those against one of the rules that were asked: their ids and days.
    pub fn against(&self, rule: usize) -> impl Iterator<Item = (&str, &str)> {
        let first = 3 + 2 * rule;
        array(&self.answer, first).zip(array(&self.answer, first + 1))
    }

    /// Their number, and the bytes that they came in.
    pub fn size(&self) -> (usize, usize) {
        (self.digests().len(), self.answer.raw_size_bytes())
    }

    fn last_id(&self) -> Result<Option<String>> {
        let mut texts = self.texts();
        Ok(match self.digests().len() {
            0 => None,
            rows => texts.nth((rows - 1) * (1 + self.columns))?.map(str::to_string),
        })
    }

    fn digests(&self) -> std::vec::IntoIter<i64> {
        array(&self.answer, 1)
    }

    fn texts(&self) -> Texts<'_> {
        self.answer.get::<_, Option<Texts<'_>>>(0).unwrap_or_default()
    }
}

/// Null where there are no rows.
fn array<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> std::vec::IntoIter<T> {
    row.get::<_, Option<Vec<T>>>(at).unwrap_or_default().into_iter()
}

/// The texts of an array, in the order of its rows.
#[derive(Default)]
struct Texts<'a>(Option<ArrayValues<'a>>);

impl<'a> Texts<'a> {
    fn next(&mut self) -> Result<Option<&'a str>> {
        self.nth(0)
    }

    fn nth(&mut self, skipped: usize) -> Result<Option<&'a str>> {
        let broken = |why: Box<dyn std::error::Error + Sync + Send>| Error::Unexpected(format!("reading rows: {why}"));
        let values = self.0.as_mut().ok_or_else(|| broken("there are none".into()))?;
        let text = values.nth(skipped).map_err(broken)?.ok_or_else(|| broken("they end early".into()))?;
        text.map(std::str::from_utf8).transpose().map_err(|error| broken(error.into()))
    }
}

impl<'a> FromSql<'a> for Texts<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Texts(Some(array_from_sql(raw)?.values())))
    }

    accepts!(TEXT_ARRAY);
}

/// Some buckets of the rows' digests.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a> {
    /// The number of buckets, a power of two, less one.
    pub mask: i64,
    pub buckets: &'a [i64],
}

/// What a table is read by.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub table: &'a Table,
    pub rules: &'a RuleSet,
    pub time_zone: &'a str,
}

impl Reading<'_> {
    /// The digests of a stretch by buckets: bucket, rows, and the sum of their digests. They come as an array each, as `Rows` do.
    pub async fn bucket_sums(
        &self,
        source: &Session,
        stretch: &Stretch,
        buckets: i64,
    ) -> Result<Vec<(i64, i64, i128)>> {
        let select = "SELECT array_agg(s.bucket), array_agg(s.rows), array_agg(s.digests) \
                      FROM (SELECT d.digest & $2 AS bucket, count(*) AS rows, sum(d.digest)::text AS digests";
        let rows = self.digests(source, stretch, select, "", "GROUP BY 1) AS s", &[&(buckets - 1)]).await?;
        let mut sums = Vec::new();
        for row in &rows {
            let digests = array::<&str>(row, 2).map(|sum| sum.parse().unwrap_or_default());
            sums.extend(array(row, 0).zip(array(row, 1)).zip(digests).map(|((bucket, rows), sum)| (bucket, rows, sum)));
        }
        Ok(sums)
    }

    /// The bills of a stretch that lie in these buckets, with their digests.
    pub async fn open_buckets(
        &self,
        source: &Session,
        stretch: &Stretch,
        buckets: i64,
        opened: &[i64],
    ) -> Result<Vec<(String, i64)>> {
        let id = format!(", {} AS id", self.table.key_expression);
        let condition = "WHERE d.digest & $2 = ANY ($3)";
        let select = "SELECT d.id, d.digest";
        let rows = self.digests(source, stretch, select, &id, condition, &[&(buckets - 1), &opened]).await?;
        // A key that became null is told by the look at capture.
        Ok(rows.iter().filter_map(|row| Some((row.get::<_, Option<String>>(0)?, row.get(1)))).collect())
    }

    /// Reads the digests of a stretch: `select … FROM` its rows in scope `condition`. `more` is selected beside each digest.
    async fn digests(
        &self,
        source: &Session,
        stretch: &Stretch,
        select: &str,
        more: &str,
        condition: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let Reading { table, rules, time_zone } = self;
        let go_live = table.go_live();
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![&go_live];
        all.extend(parameters);
        // OFFSET 0, so that each digest is computed once.
        let statement = |bounds: &str| {
            format!(
                "{select} FROM (SELECT {digest} AS digest{more} FROM {name} AS bill WHERE {scope}{bounds} OFFSET 0) AS d {condition}",
                digest = table.digest_expression(rules),
                name = table.qualified_name,
                scope = table.scope_expression(rules, time_zone, 1),
            )
        };
        self.over_stretch(source, stretch, &all, statement).await
    }

    /// Runs a statement over a stretch, which `statement` writes around the conditions that bound it. They take the parameters after those
    /// given.
    pub async fn over_stretch(
        &self,
        source: &Session,
        Stretch { after, end }: &Stretch,
        parameters: &[&(dyn ToSql + Sync)],
        statement: impl Fn(&str) -> String,
    ) -> Result<Vec<Row>> {
        let order = self.table.order()?;
        let mut all: Vec<&(dyn ToSql + Sync)> = parameters.to_vec();
        let mut bounds = String::new();
        for (operator, place) in [(">", after), ("<=", end)] {
            if let Some(place) = place {
                bounds += &format!(" AND ({order}) {operator} ({})", self.table.place_parameters(all.len() + 1));
                all.extend(place.iter().map(|part| part as &(dyn ToSql + Sync)));
            }
        }
        let statement = statement(&bounds);
        source.begin().await.doing("beginning to read")?;
        source.batch_execute("SET LOCAL enable_hashjoin = on").await.doing("beginning to read")?; // with lists of bills
        self.table.hold_still(source).await?;
        let rows = source.query(&statement, &all).await.doing("reading a stretch of the table");
        source.forget(&statement);
        let rows = rows?;
        source.commit().await.doing("ending to read")?;
        Ok(rows)
    }

    /// The places of the last rows of the next stretches after a place, ENDS_MAX at most; fewer where the rest of the table is no longer than
    /// a stretch.
    async fn ends_of_stretches(&self, source: &Session, after: Option<&Vec<String>>) -> Result<Vec<Vec<String>>> {
        let (table, order) = (self.table, self.table.order()?);
        let beyond = after.map_or(String::new(), |_| format!("WHERE ({order}) > ({})", table.place_parameters(3)));
        let of_last = table.order_columns.iter().map(|name| format!("last.{}", quote_identifier(name)));
        let of_last = of_last.collect::<Vec<_>>().join(", ");
        let statement = format!(
            "WITH RECURSIVE last AS ( \
                 (SELECT {order} FROM {name} AS bill {beyond} ORDER BY {order} OFFSET $1 LIMIT 1) \
                 UNION ALL \
                 SELECT next.* FROM last CROSS JOIN LATERAL \
                     (SELECT {order} FROM {name} AS bill WHERE ({order}) > ({of_last}) ORDER BY {order} OFFSET $1 LIMIT 1) AS next \
             ) \
             SELECT ARRAY[{texts}] FROM last AS bill LIMIT $2",
            texts = table.place_texts(),
            name = table.qualified_name,
        );
        let offset = STRETCH_ROWS - 1;
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&offset, &ENDS_MAX];
        parameters.extend(after.into_iter().flatten().map(|part| part as &(dyn ToSql + Sync)));
        source.begin().await.doing("beginning to read")?;
        table.hold_still(source).await?;
        let rows = source.query(&statement, &parameters).await.doing("reading keys")?;
        source.commit().await.doing("ending to read")?;
        // A key that became null, which the look at capture tells, ends no stretch: nothing can be asked to lie beyond it.
        let parts = |row: &Row| row.get::<_, Vec<Option<String>>>(0).into_iter().collect();
        Ok(rows.iter().map_while(parts).collect())
    }

    /// The next rows after a place, of these buckets or of all, as the posting function takes them, and what they say to the clinic's rules.
    /// Returns where they end.
    pub async fn rows(
        &self,
        source: &Session,
        after: Place,
        limit: i64,
        asked: &[RowRule],
        opened: Option<Opened<'_>>,
    ) -> Result<(Rows, Place)> {
        let Reading { table, rules, time_zone } = self;
        let order = table.order()?;
        let go_live = table.go_live();
        let digest = table.digest_expression(rules);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&go_live, time_zone, &limit];
        // A key that became null has no place in the order, and is told by the look at capture.
        let mut conditions = vec![format!("({order}) IS NOT NULL")];
        if let Some(Opened { mask, buckets }) = &opened {
            conditions.push(format!("{digest} & $4 = ANY ($5::bigint[])"));
            parameters.extend([mask as &(dyn ToSql + Sync), buckets]);
        }
        if let Some(after) = &after {
            conditions.push(format!("({order}) > ({})", table.place_parameters(parameters.len() + 1)));
            parameters.extend(after.iter().map(|part| part as &(dyn ToSql + Sync)));
        }
        let select = |names: &str, expressions: Vec<String>| -> String {
            (0..).zip(expressions).map(|(at, expression)| format!(", {expression} AS {names}{at}")).collect()
        };
        let texts = rules.columns().iter().map(|column| read_expression(column, "$2")).collect();
        let days = asked.iter().map(|rule| rule.day_where_against.clone()).collect();
        let row: String = (0..rules.columns().len()).map(|at| format!(", r.t{at}")).collect();
        let against = |at| {
            format!(
                ", array_agg(r.id) FILTER (WHERE r.day{at} IS NOT NULL), array_agg(r.day{at}) FILTER (WHERE r.day{at} IS NOT NULL)"
            )
        };
        let against: String = (0..asked.len()).map(against).collect();
        let statement = format!(
            "SELECT array_agg(ARRAY[r.id{row}]), array_agg(r.digest), array_agg(r.is_in_scope){against} \
             FROM (SELECT {id} AS id, {digest} AS digest, {scope} AS is_in_scope{texts}{days} \
                   FROM {name} AS bill WHERE {conditions} ORDER BY {order} LIMIT $3) AS r",
            id = table.key_expression,
            scope = table.scope_expression(rules, time_zone, 1),
            texts = select("t", texts),
            days = select("day", days),
            name = table.qualified_name,
            conditions = conditions.join(" AND "),
        );
        source.begin().await.doing("beginning to read")?;
        table.hold_still(source).await?;
        let answer = source.query_one(&statement, &parameters).await.doing("reading rows")?;
        source.commit().await.doing("ending to read")?;
        let rows = Rows { answer, columns: rules.columns().len(), asked: asked.len() };
        let is_full = rows.size().0 as i64 == limit;
        let end = rows.last_id()?.filter(|_| is_full).and_then(|last| self.place_of(&last));
        Ok((rows, end))
    }

    /// The keys of the next rows after a place: for where a value among them cannot be read.
    pub async fn keys(&self, source: &Session, after: Place, limit: i64) -> Result<(Vec<String>, Place)> {
        let order = self.table.order()?;
        let beyond =
            after.as_ref().map_or(String::new(), |_| format!("AND ({order}) > ({})", self.table.place_parameters(2)));
        let statement = format!(
            "SELECT {id} FROM {name} AS bill WHERE ({order}) IS NOT NULL {beyond} ORDER BY {order} LIMIT $1",
            id = self.table.key_expression,
            name = self.table.qualified_name,
        );
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&limit];
        parameters.extend(after.iter().flatten().map(|part| part as &(dyn ToSql + Sync)));
        source.begin().await.doing("beginning to read")?;
        self.table.hold_still(source).await?;
        let rows = source.query(&statement, &parameters).await.doing("reading keys")?;
        source.commit().await.doing("ending to read")?;
        let ids: Vec<String> = rows.iter().filter_map(|row| row.get(0)).collect();
        let end = ids.last().filter(|_| rows.len() as i64 == limit).and_then(|last| self.place_of(last));
        Ok((ids, end))
    }

    /// Where the row of a bill stands.
    fn place_of(&self, reference_id: &str) -> Place {
        let parts = key::parts(reference_id, &self.table.key_types)?;
        let part = |name| Some(parts[self.table.key_columns.iter().position(|key| key == name)?].clone());
        self.table.order_columns.iter().map(part).collect()
    }
}
