//! Entries with their lines, read as they are hashed.

use bytes::BytesMut;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::encoding::{Entry, Fields, HEADER_FIELDS, date_text, moment_text};
use crate::database::Session;
use crate::error::{Doing, Result};
use crate::sql;

/// A value in its canonical text, whatever the session's settings are.
struct Text(String);

impl<'a> FromSql<'a> for Text {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Text(match *of {
            Type::BOOL => bool::from_sql(of, raw)?.to_string(),
            Type::INT4 => i32::from_sql(of, raw)?.to_string(),
            Type::INT8 => i64::from_sql(of, raw)?.to_string(),
            Type::DATE => date_text(i32::from_be_bytes(raw.try_into()?)),
            Type::TIMESTAMPTZ => moment_text(i64::from_be_bytes(raw.try_into()?)),
            _ => String::from_sql(of, raw)?,
        }))
    }

    fn accepts(of: &Type) -> bool {
        [Type::BOOL, Type::INT4, Type::INT8, Type::DATE, Type::TIMESTAMPTZ, Type::TEXT].contains(of)
    }
}

/// A moment in PostgreSQL's own microseconds since 2000-01-01, which no conversion can round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub i64);

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Moment(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

fn fields<const N: usize>(row: &Row, from: usize) -> Result<Fields<N>> {
    let mut fields = [const { None }; N];
    for (at, field) in fields.iter_mut().enumerate() {
        *field = row.try_get::<_, Option<Text>>(from + at).doing("reading entries")?.map(|Text(text)| text);
    }
    Ok(fields)
}

/// Of these entries those that are there, by id, with their lines.
pub async fn read(ledger: &Session, ids: &[i64]) -> Result<Vec<Entry>> {
    let rows = ledger.query(sql::SEALED_ENTRIES, &[&ids]).await.doing("reading entries")?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        let header: Fields<{ HEADER_FIELDS.len() }> = fields(row, 0)?;
        entries.push(Entry { id: row.get(0), header, lines: Vec::new() });
    }
    for row in ledger.query(sql::SEALED_LINES, &[&ids]).await.doing("reading lines")? {
        let id: i64 = row.get(0);
        if let Ok(at) = entries.binary_search_by_key(&id, |entry| entry.id) {
            entries[at].lines.push(fields(&row, 1)?);
        }
    }
    Ok(entries)
}
