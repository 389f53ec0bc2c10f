// One of many generic functions of a crate; @I@ is its number. What begins with `#[test]` goes into the crate's tests.
pub fn step@I@<T: Into<u64> + Copy>(items: &[T], n: u64) -> u64 {
    let mut map: HashMap<u64, Vec<Item>> = HashMap::new();
    for (k, x) in items.iter().enumerate() {
        let value: u64 = (*x).into() * (@I@ + 3) + n;
        map.entry(value % 13).or_default().push(Item { name: format!("{}-{}", k, value), values: vec![value; k % 5] });
    }
    let sorted: BTreeMap<_, _> = map.into_iter().collect();
    let weight = |each: &Item| each.values.iter().sum::<u64>() + each.name.len() as u64;
    sorted.iter().map(|(key, list)| key * list.iter().map(weight).sum::<u64>()).sum()
}
#[test]
fn step@I@_is_the_same_for_all_types() {
    assert_eq!(step@I@(&[1u8, 2, 250], 5), step@I@(&[1u64, 2, 250], 5));
}
