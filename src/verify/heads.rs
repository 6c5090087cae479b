//! Published heads, read from where whoever rules the database could not reach them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::chain::head::Head;
use crate::error::{Error, Result};

/// The heads of a file, by book and block.
#[derive(Debug, Clone, Default)]
pub struct Heads {
    by_block: BTreeMap<(String, i64), Vec<Head>>,
    /// Lines that are no head, such as one that a crash has cut.
    pub unreadable: usize,
}

impl Heads {
    /// Reads a file with one JSON object a line. Fails where it cannot be read.
    pub fn read(path: &Path) -> Result<Heads> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::Usage(format!("cannot read {}: {source}", path.display())))?;
        Ok(Heads::parse(&String::from_utf8_lossy(&bytes)))
    }

    pub fn parse(text: &str) -> Heads {
        let mut heads = Heads::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let Ok(head) = serde_json::from_str::<Head>(line) else {
                heads.unreadable += 1;
                continue;
            };
            let of_block = heads.by_block.entry((head.book.clone(), head.block)).or_default();
            if !of_block.iter().any(|known| known.hash == head.hash && known.entry_number == head.entry_number) {
                of_block.push(head);
            }
        }
        heads
    }

    pub fn has(&self, book: &str) -> bool {
        self.by_block.keys().any(|(of, _)| of == book)
    }

    /// Those of one block; two that differ were published by two chains.
    pub fn of_block(&self, book: &str, block: i64) -> &[Head] {
        self.by_block.get(&(book.into(), block)).map_or(&[], Vec::as_slice)
    }

    /// The first that lies beyond a block.
    pub fn beyond(&self, book: &str, block: i64) -> Option<&Head> {
        let beyond = self.by_block.range((book.to_string(), block.saturating_add(1))..).next()?;
        beyond.1.first().filter(|head| head.book == book)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_known_by_book_and_block_and_a_torn_line_is_counted() {
        let line = |book: &str, block: i64, hash: &str| {
            format!(
                r#"{{"book":"{book}","block":{block},"entry_number":{block},"hash":"{hash}","sealed_at":"2024-03-05T00:00:00Z"}}"#
            )
        };
        let text = [
            line("main", 2, "aa"),
            line("main", 2, "aa"),
            line("main", 2, "bb"),
            line("other", 9, "cc"),
            "{\"bo".into(),
        ]
        .join("\n");
        let heads = Heads::parse(&text);
        assert_eq!((heads.of_block("main", 2).len(), heads.of_block("main", 1).len(), heads.unreadable), (2, 0, 1));
        assert!(heads.has("other") && !heads.has("another"));
        assert_eq!(heads.beyond("main", 1).map(|head| head.block), Some(2));
        assert!(heads.beyond("main", 2).is_none() && heads.beyond("other", 9).is_none());
    }
}
