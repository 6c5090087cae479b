//! What rows and bills amount to, added up by buckets: by the lowest bits of the digests of rows. Values alone; where two sides have the same
//! sums, they have the same bills.

use std::ops::SubAssign;

use super::Table;
use super::reading::RowRead;
use crate::error::Result;
use crate::posting::desired::{Circumstances, Desired, Wanted, desired};
use crate::posting::fingerprint::fingerprint;
use crate::posting::rule::RuleSet;

/// About so many rows a bucket.
const BUCKET_ROWS: i64 = 64;
const BUCKETS_MIN: i64 = 64;
const BUCKETS_MAX: i64 = 65_536;

/// What a bucket holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub rows: i64,
    /// Sum of the digests of rows.
    pub digests: i128,
    /// Sum of what the rows amount to: of their fingerprints, each mixed with the row's digest, so that none can change places.
    pub amounts: i128,
}

impl Bucket {
    pub fn add(&mut self, digest: i64, fingerprint: Option<i64>) {
        self.rows += 1;
        self.digests += i128::from(digest);
        self.amounts += fingerprint.map_or(0, |fingerprint| i128::from(fingerprint ^ digest));
    }

    pub fn has_rows_of(&self, other: &Bucket) -> bool {
        (self.rows, self.digests) == (other.rows, other.digests)
    }
}

impl SubAssign<&Bucket> for Bucket {
    fn sub_assign(&mut self, other: &Bucket) {
        self.rows -= other.rows;
        self.digests -= other.digests;
        self.amounts -= other.amounts;
    }
}

/// One for each bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums(Vec<Bucket>);

impl Sums {
    /// So many buckets, a power of two; all of them empty.
    pub fn of(buckets: i64) -> Sums {
        Sums(vec![Bucket::default(); buckets as usize])
    }

    pub fn buckets(&self) -> i64 {
        self.0.len() as i64
    }

    pub fn bucket(&mut self, digest: i64) -> &mut Bucket {
        let at = digest & (self.buckets() - 1);
        &mut self.0[at as usize]
    }

    /// Adds up what rows amount to, and shows each bill that amounts to something. One that cannot be posted amounts to nothing, as a bill
    /// that is parked.
    pub fn add_up(
        &mut self,
        rows: impl Iterator<Item = Result<RowRead>>,
        rules: &RuleSet,
        circumstances: Circumstances<'_>,
        mut show: impl FnMut(&str, &Desired),
    ) -> Result<()> {
        for row in rows {
            let row = row?;
            let wanted = amounts_to(rules, circumstances, &row);
            let is_counted = wanted.as_ref().map_or(row.is_in_scope, |wanted| *wanted != Wanted::OutOfScope);
            if let Some(Wanted::Lines(desired)) = &wanted {
                show(&row.reference_id, desired);
            }
            if is_counted {
                self.bucket(row.digest).add(row.digest, wanted.as_ref().and_then(fingerprint_of));
            }
        }
        Ok(())
    }

    pub fn rows(&self) -> i64 {
        self.0.iter().map(|bucket| bucket.rows).sum()
    }

    /// Whether both have the same rows, all in all.
    pub fn have_rows_of(&self, other: &Sums) -> bool {
        let all = |sums: &Sums| {
            sums.0.iter().fold((0, 0), |(rows, digests), bucket| (rows + bucket.rows, digests + bucket.digests))
        };
        all(self) == all(other)
    }

    /// The buckets in which both differ, and how many rows they hold.
    pub fn differing(&self, other: &Sums, same: impl Fn(&Bucket, &Bucket) -> bool) -> (Vec<i64>, i64) {
        let pairs = (0..).zip(self.0.iter().zip(&other.0)).filter(|(_, (ours, theirs))| !same(ours, theirs));
        let (buckets, rows): (Vec<i64>, Vec<i64>) =
            pairs.map(|(bucket, (ours, theirs))| (bucket, ours.rows.max(theirs.rows))).unzip();
        (buckets, rows.iter().sum())
    }
}

impl SubAssign<&Sums> for Sums {
    fn sub_assign(&mut self, other: &Sums) {
        self.0.iter_mut().zip(&other.0).for_each(|(ours, theirs)| *ours -= theirs);
    }
}

/// How many suit a table.
pub(super) fn buckets_for(table: &Table) -> i64 {
    let buckets = (table.rows / BUCKET_ROWS).clamp(BUCKETS_MIN, BUCKETS_MAX);
    (buckets as u64).next_power_of_two() as i64
}

/// What a row asks the ledger for, by the posting function; `None` where it cannot be posted.
pub(super) fn amounts_to(rules: &RuleSet, circumstances: Circumstances<'_>, row: &RowRead) -> Option<Wanted> {
    let rule = rules.version_for(&row.values).ok()?;
    desired(rule, circumstances, &row.values).ok()
}

/// `None` of what amounts to nothing.
pub(super) fn fingerprint_of(wanted: &Wanted) -> Option<i64> {
    match wanted {
        Wanted::Lines(desired) => Some(fingerprint(desired.effective_date, &desired.lines)),
        Wanted::Nothing | Wanted::OutOfScope => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bills: &[(i64, i64)]) -> Sums {
        let mut sums = Sums::of(2);
        bills.iter().for_each(|(digest, fingerprint)| sums.bucket(*digest).add(*digest, Some(*fingerprint)));
        sums
    }

    #[test]
    fn amounts_that_change_places_within_a_bucket_differ() {
        let (ours, theirs) = (sums(&[(2, 70), (4, 90)]), sums(&[(2, 90), (4, 70)]));
        assert!(ours.have_rows_of(&theirs));
        assert_eq!(ours.differing(&theirs, Bucket::has_rows_of), (vec![], 0));
        assert_eq!(ours.differing(&theirs, Bucket::eq), (vec![0], 2));
    }

    #[test]
    fn what_is_left_out_on_both_sides_hides_nothing_of_the_others() {
        let (mut ours, mut theirs) = (sums(&[(1, 10), (3, 30), (5, -50)]), sums(&[(1, 10), (7, 30), (5, -50)]));
        ours -= &sums(&[(3, 30)]);
        theirs -= &sums(&[(7, 30)]);
        assert_eq!(ours, theirs, "the one that waits was written");
        theirs -= &sums(&[(5, -50)]);
        assert_eq!(
            ours.differing(&theirs, Bucket::has_rows_of),
            (vec![1], 2),
            "one without its bill, and one that agrees"
        );
        assert!(!ours.have_rows_of(&theirs));
    }
}
