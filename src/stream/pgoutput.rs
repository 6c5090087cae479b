//! Decoding pgoutput, the format in which a server writes the changes of a logical replication slot. Pure: bytes in, messages out, which
//! borrow from the bytes. After "Logical Replication Message Formats" in PostgreSQL's documentation, protocol version 1.

use bytes::Buf;

/// A position in the WAL.
pub type Lsn = u64;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction that has committed follows, all of it.
    Begin {
        /// Where its commit stands.
        final_lsn: Lsn,
        /// In microseconds since the beginning of 2000.
        committed_at: i64,
        xid: u32,
    },
    Commit {
        commit_lsn: Lsn,
        /// Where the WAL goes on behind it.
        end_lsn: Lsn,
        committed_at: i64,
    },
    /// The transaction came from another server.
    Origin {
        commit_lsn: Lsn,
        name: &'a str,
    },
    /// What the changes of a table that follow are to be read by.
    Relation(Relation<'a>),
    Type {
        id: u32,
        namespace: &'a str,
        name: &'a str,
    },
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        /// The key, where it changed, or the whole row, where the replica identity is FULL.
        old: Option<Tuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        /// The key, or the whole row.
        old: Tuple<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// What somebody wrote by `pg_logical_emit_message`.
    Message {
        is_transactional: bool,
        lsn: Lsn,
        prefix: &'a str,
        content: &'a [u8],
    },
}

/// A table as it was when the changes were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    pub id: u32,
    pub namespace: &'a str,
    pub name: &'a str,
    /// `d`, `n`, `f` or `i`, as in `pg_class.relreplident`.
    pub replica_identity: u8,
    pub columns: Vec<Column<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    pub name: &'a str,
    pub type_id: u32,
    /// Whether it is part of the replica identity.
    pub is_identity: bool,
}

/// The values of a row, in the order of its relation's columns.
pub type Tuple<'a> = Vec<Value<'a>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    /// A large value that did not change, and is not told.
    Unchanged,
    /// In text form, in the client's encoding; bytes, since a database in SQL_ASCII knows none.
    Text(&'a [u8]),
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a message ends before it is complete")]
    Short,
    #[error("a message goes on behind its end")]
    Long,
    #[error("message type {:?} is unknown", char::from(*.0))]
    Unknown(u8),
    #[error("a name is not UTF-8")]
    Name,
    #[error("a tuple is marked {:?}", char::from(*.0))]
    Mark(u8),
    #[error("a value is of kind {:?}", char::from(*.0))]
    Kind(u8),
}

type Result<T> = std::result::Result<T, Malformed>;

/// Decodes one message, which has to be all of the bytes. Allocates no more than a small multiple of their number.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>> {
    let mut reader = Reader(bytes);
    let message = match reader.u8()? {
        b'B' => Message::Begin { final_lsn: reader.u64()?, committed_at: reader.i64()?, xid: reader.u32()? },
        b'C' => {
            reader.u8()?; // flags, unused
            Message::Commit { commit_lsn: reader.u64()?, end_lsn: reader.u64()?, committed_at: reader.i64()? }
        }
        b'O' => Message::Origin { commit_lsn: reader.u64()?, name: reader.name()? },
        b'R' => Message::Relation(reader.relation()?),
        b'Y' => Message::Type { id: reader.u32()?, namespace: reader.name()?, name: reader.name()? },
        b'I' => {
            let relation = reader.u32()?;
            reader.mark(b'N')?;
            Message::Insert { relation, new: reader.tuple()? }
        }
        b'U' => {
            let relation = reader.u32()?;
            let (mark, old) = match reader.u8()? {
                b'K' | b'O' => {
                    let old = reader.tuple()?;
                    (reader.u8()?, Some(old))
                }
                mark => (mark, None),
            };
            if mark != b'N' {
                return Err(Malformed::Mark(mark));
            }
            Message::Update { relation, old, new: reader.tuple()? }
        }
        b'D' => {
            let relation = reader.u32()?;
            match reader.u8()? {
                b'K' | b'O' => Message::Delete { relation, old: reader.tuple()? },
                mark => return Err(Malformed::Mark(mark)),
            }
        }
        b'T' => {
            let count = reader.u32()?;
            reader.u8()?; // CASCADE, RESTART IDENTITY
            let relations = reader.list(count as usize, 4, Reader::u32)?;
            Message::Truncate { relations }
        }
        b'M' => {
            let is_transactional = reader.u8()? & 1 == 1;
            let (lsn, prefix, length) = (reader.u64()?, reader.name()?, reader.u32()?);
            Message::Message { is_transactional, lsn, prefix, content: reader.bytes(length as usize)? }
        }
        other => return Err(Malformed::Unknown(other)),
    };
    if reader.0.is_empty() { Ok(message) } else { Err(Malformed::Long) }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> Result<u8> {
        self.0.try_get_u8().map_err(|_| Malformed::Short)
    }

    fn u16(&mut self) -> Result<u16> {
        self.0.try_get_u16().map_err(|_| Malformed::Short)
    }

    fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32().map_err(|_| Malformed::Short)
    }

    fn u64(&mut self) -> Result<u64> {
        self.0.try_get_u64().map_err(|_| Malformed::Short)
    }

    fn i64(&mut self) -> Result<i64> {
        self.0.try_get_i64().map_err(|_| Malformed::Short)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A text that ends with a zero.
    fn name(&mut self) -> Result<&'a str> {
        let length = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed::Short)?;
        let name = self.bytes(length)?;
        self.u8()?;
        std::str::from_utf8(name).map_err(|_| Malformed::Name)
    }

    fn mark(&mut self, expected: u8) -> Result<()> {
        match self.u8()? {
            mark if mark == expected => Ok(()),
            mark => Err(Malformed::Mark(mark)),
        }
    }

    /// So many of the same, each of so many bytes at least: a number that cannot be true allocates nothing.
    fn list<T>(&mut self, count: usize, bytes_min: usize, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if count > self.0.len() / bytes_min {
            return Err(Malformed::Short);
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn relation(&mut self) -> Result<Relation<'a>> {
        let (id, namespace, name) = (self.u32()?, self.name()?, self.name()?);
        let replica_identity = self.u8()?;
        let count = self.u16()?;
        let columns = self.list(usize::from(count), 10, |reader| {
            let is_identity = reader.u8()? & 1 == 1;
            let (name, type_id) = (reader.name()?, reader.u32()?);
            reader.u32()?; // the type's modifier
            Ok(Column { name, type_id, is_identity })
        })?;
        Ok(Relation { id, namespace, name, replica_identity, columns })
    }

    fn tuple(&mut self) -> Result<Tuple<'a>> {
        let count = self.u16()?;
        self.list(usize::from(count), 1, |reader| match reader.u8()? {
            b'n' => Ok(Value::Null),
            b'u' => Ok(Value::Unchanged),
            b't' => {
                let length = reader.u32()?;
                Ok(Value::Text(reader.bytes(length as usize)?))
            }
            kind => Err(Malformed::Kind(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_be_true_allocates_nothing_and_is_refused() {
        let truncate = [b'T', 0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4];
        assert_eq!(decode(&truncate), Err(Malformed::Short));
        let insert = [b'I', 0, 0, 0, 1, b'N', 0xff, 0xff, b'n'];
        assert_eq!(decode(&insert), Err(Malformed::Short));
        let value = [b'I', 0, 0, 0, 1, b'N', 0, 1, b't', 0xff, 0xff, 0xff, 0xff, b'x'];
        assert_eq!(decode(&value), Err(Malformed::Short));
    }

    #[test]
    fn what_is_no_message_is_refused_by_its_reason() {
        assert_eq!(decode(b""), Err(Malformed::Short));
        assert_eq!(decode(b"Z"), Err(Malformed::Unknown(b'Z')));
        assert_eq!(decode(&[b'D', 0, 0, 0, 1, b'N']), Err(Malformed::Mark(b'N')));
        assert_eq!(decode(&[b'I', 0, 0, 0, 1, b'N', 0, 1, b'q']), Err(Malformed::Kind(b'q')));
        let mut begin = vec![b'B'];
        begin.extend([0; 20]);
        assert!(decode(&begin).is_ok());
        begin.push(0);
        assert_eq!(decode(&begin), Err(Malformed::Long));
    }
}
