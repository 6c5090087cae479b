//! Tamper evidence: entries are sealed into a chain of blocks, one chain a book, beside the hot path.
//!
//! [`encoding`] says what is hashed, [`entries`] reads it, [`seal`] adds blocks, [`head`] publishes the end of the chain to where who
//! rules the database does not rule. [`crate::verify`] looks whether everything is still as it was sealed.
//!
//! Posting knows nothing of it and never waits for it. An entry's number is its position in the chain, from 1 and without gaps; entries
//! follow each other in the order in which they were found committed, which is not always that of their ids.

pub mod encoding;
pub mod entries;
pub mod head;
pub mod seal;
