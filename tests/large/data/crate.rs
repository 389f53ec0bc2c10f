// A crate of many generic functions, which uses the one before.
use std::collections::{BTreeMap, HashMap};
@BEFORE@

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Item {
    pub name: String,
    pub values: Vec<u64>,
}

@STEPS@

pub fn total(n: u64) -> u64 {
    let items: Vec<u32> = (0..50).collect();
    let mut sum = before(n);
@CALLS@
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
@TESTS@
}
