// Sums up what the last crate comes to, in eight threads.
use std::thread;

fn main() {
    let all: Vec<_> = (0..8u64).map(|n| thread::spawn(move || @LAST@::total(n))).collect();
    let sums: Vec<String> = all.into_iter().map(|each| each.join().unwrap().to_string()).collect();
    println!("{}", sums.join(" "));
}
