//! Sealing: what is committed and in no block yet goes into blocks, in short transactions of its own, one process at a time.
//!
//! Nothing that posting does waits for it: it locks one row that posting never touches, and reads. Ids come from a sequence and commit out
//! of order, so that no cursor over them finds all. A mark says up to which id everything is sealed; above it, each pass looks
//! again. The mark passes an id only by this rule: the highest id given is read, and then a transaction id is taken; whoever holds an id
//! up to there has a lower transaction id, since a bill is locked before its entries get theirs; once a later snapshot begins
//! above that transaction id, all of them have ended, and what of theirs is committed is seen.

use std::time::{Duration, Instant};

use super::encoding::{BLOCK_ENTRIES_MAX, Block, NO_HASH, VERSION};
use super::entries::{self, Moment};
use crate::crash_point::crash_point;
use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, Result};
use crate::sql;

/// So many entries of the journal are looked at in one pass.
const LOOKED_AT_MAX: i64 = 10_000;

/// How long a pass waits for a process that is sealing just now.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Seals the entries of one book.
#[derive(Debug)]
pub struct Sealer {
    book: String,
    is_founded: bool,
    /// Up to where this round has looked. Where a long transaction holds the mark, passes go on above it, and begin anew at the end.
    looked_to: Option<i64>,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Another process is sealing.
    Busy,
    Sealed {
        entries: usize,
        /// Whether it looked up to the end of the journal.
        is_through: bool,
    },
}

impl Sealer {
    pub fn new(book: &str) -> Sealer {
        Sealer { book: book.into(), is_founded: false, looked_to: None }
    }

    /// Seals until it is through, or the time is up; returns how many entries it sealed. Leaves it to another session that is at it, and
    /// returns nothing then.
    pub async fn seal_for(&mut self, ledger: &Session, time: Duration) -> Result<Option<usize>> {
        let started = Instant::now();
        let mut sealed = None;
        while let Pass::Sealed { entries, is_through } = self.pass(ledger).await? {
            sealed = Some(sealed.unwrap_or(0) + entries);
            if is_through || started.elapsed() >= time {
                break;
            }
        }
        Ok(sealed)
    }

    /// Seals everything that is committed now, also where another process is at it, unless the time is up.
    pub async fn seal_everything(&mut self, ledger: &Session, time: Duration) -> Result<usize> {
        let started = Instant::now();
        self.looked_to = None;
        let mut sealed = 0;
        while started.elapsed() < time {
            match self.pass(ledger).await? {
                Pass::Busy => tokio::time::sleep(BUSY_PAUSE).await,
                Pass::Sealed { entries, is_through } => {
                    sealed += entries;
                    if is_through {
                        break;
                    }
                }
            }
        }
        Ok(sealed)
    }

    /// One block at most.
    async fn pass(&mut self, ledger: &Session) -> Result<Pass> {
        if !self.is_founded {
            ledger.execute(sql::FOUND_CHAIN, &[&self.book]).await.doing("founding the chain")?;
            self.is_founded = true;
        }
        // Before the transaction has an id of its own.
        let given = ledger.query_one(sql::HIGHEST_ID_GIVEN, &[]).await.doing("asking for the highest id")?.get(0);
        ledger.begin().await.doing("beginning to seal")?;
        let pass = self.transact(ledger, given).await;
        match pass {
            Ok(pass) => {
                let adds_a_block = matches!(pass, Pass::Sealed { entries: 1.., .. });
                if adds_a_block {
                    crash_point("before_block_commit");
                }
                ledger.commit().await.doing("sealing entries")?;
                if adds_a_block {
                    crash_point("after_block_commit");
                }
                Ok(pass)
            }
            Err(error) => {
                self.looked_to = None;
                let _ = ledger.rollback().await; // a lost connection has rolled back
                Err(error)
            }
        }
    }

    async fn transact(&mut self, ledger: &Session, highest_given: i64) -> Result<Pass> {
        let chain = ledger.query_opt(sql::LOCK_CHAIN, &[&self.book]).await.doing("locking the chain")?;
        let Some(chain) = chain else { return Ok(Pass::Busy) };
        let mark: i64 = chain.get(0);
        let noted = chain.get::<_, Option<i64>>(1).filter(|_| chain.get::<_, Option<bool>>(3) != Some(true));
        let could_pass = noted.is_some_and(|noted| noted > mark) && chain.get::<_, Option<bool>>(2) == Some(true);
        let from = match self.looked_to {
            Some(looked_to) if looked_to > mark && !could_pass => looked_to,
            _ => mark,
        };
        let parameters: Parameters<'_> = &[&self.book, &from, &LOOKED_AT_MAX, &(BLOCK_ENTRIES_MAX as i64)];
        let found = ledger.query_one(sql::UNSEALED_ENTRIES, parameters).await.doing("looking for unsealed entries")?;
        let ids: Vec<i64> = found.get(0);
        // Up to where nothing is left that this snapshot saw; `None`: to the end.
        let looked_to = match ids.last() {
            Some(last) if ids.len() == BLOCK_ENTRIES_MAX => Some(*last),
            _ => found.get(1),
        };
        let passes = from == mark && found.get::<_, Option<bool>>(2) == Some(true);
        let next_mark = match noted {
            Some(noted) if passes => noted.min(looked_to.unwrap_or(noted)).max(mark),
            _ => mark,
        };
        if !ids.is_empty() {
            self.add_block(ledger, &ids, next_mark, found.get(3)).await?;
        }
        // A mark that has come up to what was noted, and is still below what was given.
        let note = (noted.is_none_or(|noted| noted <= next_mark) && highest_given > next_mark).then_some(highest_given);
        if next_mark > mark || note.is_some() {
            ledger.execute(sql::MOVE_MARK, &[&self.book, &next_mark, &note]).await.doing("moving the mark")?;
        }
        self.looked_to = looked_to;
        Ok(Pass::Sealed { entries: ids.len(), is_through: looked_to.is_none() })
    }

    async fn add_block(&self, ledger: &Session, ids: &[i64], passed_entry_id: i64, now: Moment) -> Result<()> {
        let entries = entries::read(ledger, ids).await?;
        if entries.len() != ids.len() {
            return Err(Error::Unexpected("an entry vanished while it was being sealed: run `daybook verify`".into()));
        }
        let last = ledger.query_opt(sql::LAST_BLOCK, &[&self.book]).await.doing("reading the end of the chain")?;
        let (number, last_entry_number, previous_hash) = match &last {
            Some(last) => (last.get(0), last.get(1), last.get(2)),
            None => (0, 0, NO_HASH.to_vec()),
        };
        let block = Block {
            book: self.book.clone(),
            number: number + 1,
            first_entry_number: last_entry_number + 1,
            passed_entry_id,
            sealed_at: now.0,
            previous_hash,
            entry_ids: ids.to_vec(),
            entry_hashes: entries.iter().flat_map(|entry| entry.hash()).collect(),
        };
        let parameters: Parameters<'_> = &[
            &block.book,
            &block.number,
            &block.first_entry_number,
            &block.entry_ids,
            &block.entry_hashes,
            &block.passed_entry_id,
            &block.previous_hash,
            &block.hash().to_vec(),
            &VERSION,
            &now,
        ];
        ledger.execute(sql::ADD_BLOCK, parameters).await.doing("adding a block to the chain")?;
        Ok(())
    }
}
