//! The walk along the chain, one block at a time: is each block the one that was sealed, does it follow the one before it, and are its
//! entries still what was hashed?

use super::heads::Heads;
use super::{Finding, Kind, Plain, Report, bill};
use crate::chain::encoding::{Block, Entry, NO_HASH, VERSION, hex};
use crate::chain::entries::{self, Moment};
use crate::error::Result;

/// A block as it is stored.
struct Stored {
    block: Block,
    hash: Vec<u8>,
    encoding: i16,
}

/// What the next block must follow.
struct End {
    number: i64,
    entry_number: i64,
    /// `None` behind a gap, where it is not known.
    hash: Option<Vec<u8>>,
    passed_entry_id: i64,
    /// Number of the last entry that a published head has confirmed.
    confirmed: i64,
    /// Whether a published head disagreed already; all later ones would.
    is_rewritten: bool,
}

pub(super) async fn walk(
    plain: &Plain<'_>,
    last_block: i64,
    against: Option<&Heads>,
    report: &mut Report,
) -> Result<()> {
    let mut end = End {
        number: 0,
        entry_number: 0,
        hash: Some(NO_HASH.to_vec()),
        passed_entry_id: 0,
        confirmed: 0,
        is_rewritten: false,
    };
    while let Some(stored) = next(plain, &report.book, end.number, last_block).await? {
        report.blocks += 1;
        check_place(&stored, &mut end, report);
        check_entries(plain, &stored, report).await?;
        if let Some(heads) = against {
            compare(&stored, heads, &mut end, report);
        }
        let Stored { block, hash, .. } = stored;
        end.number = block.number;
        end.entry_number = block.last_entry_number();
        end.passed_entry_id = end.passed_entry_id.max(block.passed_entry_id);
        end.hash = Some(hash);
    }
    if let Some(head) = against.and_then(|heads| heads.beyond(&report.book, end.number)) {
        report.add(Finding::new(
            Kind::Tampered,
            format!(
                "the chain ends with block {}, and the head of block {}, entry number {}, was published: blocks were deleted, or the \
                 ledger was set back to a backup or failed over without its last entries",
                end.number, head.block, head.entry_number
            ),
        ));
    }
    Ok(())
}

async fn next(plain: &Plain<'_>, book: &str, after: i64, last: i64) -> Result<Option<Stored>> {
    let rows = plain.ask(include_str!("../../sql/verify/block.sql"), &[&book, &after, &last]).await?;
    Ok(rows.first().map(|row| Stored {
        block: Block {
            book: book.into(),
            number: row.get(0),
            first_entry_number: row.get(1),
            passed_entry_id: row.get(2),
            sealed_at: row.get::<_, Moment>(3).0,
            previous_hash: row.get(4),
            entry_ids: row.get(5),
            entry_hashes: row.get(6),
        },
        hash: row.get(7),
        encoding: row.get(8),
    }))
}

/// Whether the block follows the one before it, and is what its own hash says.
fn check_place(Stored { block, hash, encoding }: &Stored, end: &mut End, report: &mut Report) {
    let number = block.number;
    let mut add = |problem: String| report.add(Finding::new(Kind::Tampered, problem));
    if number != end.number + 1 {
        let (first, last) = (end.number + 1, number - 1);
        let (from, to) = (end.entry_number + 1, block.first_entry_number - 1);
        add(format!("blocks {first} to {last} of the chain, entries number {from} to {to}, were deleted"));
        end.hash = None;
    } else if block.first_entry_number != end.entry_number + 1 {
        add(format!("block {number} does not begin with entry number {}: blocks were rewritten", end.entry_number + 1));
    }
    if end.hash.as_ref().is_some_and(|before| *before != block.previous_hash) {
        add(format!("block {number} does not follow block {}: one of the two was rewritten", end.number));
    }
    if *encoding != VERSION {
        add(format!(
            "block {number} has encoding {encoding}, and this program knows {VERSION}: a newer one sealed it, or it was rewritten"
        ));
    } else if block.hash().as_slice() != hash.as_slice() {
        let (from, to) = (block.first_entry_number, block.last_entry_number());
        add(format!("block {number}, entries number {from} to {to}, is not what its hash says: it was rewritten"));
    }
    if !block.entry_ids.is_sorted_by(|a, b| a < b) {
        let at = block.entry_ids.windows(2).position(|pair| pair[0] >= pair[1]).unwrap_or_default() + 1;
        let (id, entry_number) = (block.entry_ids[at], block.first_entry_number + at as i64);
        let finding = Finding::new(Kind::Tampered, format!("entries of block {number} were reordered or repeated"));
        report.add(Finding { entry_id: Some(id), entry_number: Some(entry_number), ..finding });
    }
    for (at, id) in block.entry_ids.iter().enumerate().filter(|(_, id)| **id <= end.passed_entry_id) {
        let problem = "it was sealed although no entry with its id was to come any more: it was inserted later";
        let entry_number = Some(block.first_entry_number + at as i64);
        report.add(Finding { entry_id: Some(*id), entry_number, ..Finding::new(Kind::Tampered, problem) });
    }
}

/// Whether its entries are there and still have their hashes.
async fn check_entries(plain: &Plain<'_>, Stored { block, encoding, .. }: &Stored, report: &mut Report) -> Result<()> {
    if *encoding != VERSION {
        return Ok(());
    }
    let there = entries::read(plain.ledger, &block.entry_ids).await?;
    let find = |id: i64| there.binary_search_by_key(&id, |entry| entry.id).ok().map(|at| &there[at]);
    for (at, id) in block.entry_ids.iter().enumerate() {
        let sealed = block.entry_hashes.get(32 * at..32 * (at + 1));
        let entry: Option<&Entry> = find(*id);
        let problem = match (entry, sealed) {
            (Some(entry), Some(sealed)) if entry.hash().as_slice() == sealed => continue,
            (Some(_), _) => "it is not what was sealed: it or a line of it was changed, or it has another one's id",
            (None, _) => "it was sealed, and is not in the journal: it was deleted, or its id was changed",
        };
        let named = |name: &str| entry.and_then(|entry| entry.field(name));
        report.add(Finding {
            entry_id: Some(*id),
            entry_number: Some(block.first_entry_number + at as i64),
            bill: bill(named("source"), named("reference_type"), named("reference_id")),
            ..Finding::new(Kind::Tampered, problem)
        });
    }
    Ok(())
}

/// Whether the block is the one whose head was published.
fn compare(Stored { block, hash, .. }: &Stored, heads: &Heads, end: &mut End, report: &mut Report) {
    let (stored, last) = (hex(hash), block.last_entry_number());
    for head in heads.of_block(&report.book, block.number) {
        report.heads_compared += 1;
        if head.hash == stored && head.entry_number == last {
            end.confirmed = last;
        } else if !end.is_rewritten {
            end.is_rewritten = true;
            let (from, to) = (end.confirmed + 1, head.entry_number.max(last));
            let finding = Finding::new(
                Kind::Tampered,
                format!(
                    "the head of block {} that was published disagrees: the chain was rewritten at or after entry number {from}, up to \
                     number {to}, or the ledger was set back to a backup",
                    block.number
                ),
            );
            report.add(Finding { entry_number: Some(from), ..finding });
        }
    }
}
