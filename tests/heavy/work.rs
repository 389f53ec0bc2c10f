// work: collections, threads, channels, aligned layouts and children, over an allocator that is chosen when this is compiled:
// the system's, or jemalloc's own functions (`--cfg jemalloc`), as its crates call them.
// Always: prints the same for every allocator, and exits with 5.
use std::alloc::{alloc, alloc_zeroed, dealloc, realloc, Layout};
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::thread;

#[cfg(jemalloc)]
mod own {
    use std::alloc::{GlobalAlloc, Layout};
    #[link(name = "jemalloc")]
    extern "C" {
        fn mallocx(size: usize, flags: i32) -> *mut u8;
        fn rallocx(block: *mut u8, size: usize, flags: i32) -> *mut u8;
        fn sdallocx(block: *mut u8, size: usize, flags: i32);
    }
    pub struct Jemalloc;
    fn flags(layout: Layout) -> i32 {
        layout.align().trailing_zeros() as i32
    }
    unsafe impl GlobalAlloc for Jemalloc {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            mallocx(layout.size(), flags(layout))
        }
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            sdallocx(block, layout.size(), flags(layout))
        }
        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            rallocx(block, size, flags(layout))
        }
    }
}

#[cfg(jemalloc)]
#[global_allocator]
static ALLOCATOR: own::Jemalloc = own::Jemalloc;

fn layouts() -> usize {
    let mut sum = 0;
    for shift in 0..17 {
        for size in [1usize, 24, 1000, 70000, 3000000] {
            let layout = Layout::from_size_align(size, 1 << shift).unwrap();
            unsafe {
                let block = if size % 2 == 0 { alloc_zeroed(layout) } else { alloc(layout) };
                assert!(!block.is_null() && block as usize % layout.align() == 0);
                *block = shift as u8;
                let grown = realloc(block, layout, size * 2);
                assert!(grown as usize % layout.align() == 0 && *grown == shift as u8);
                dealloc(grown, Layout::from_size_align(size * 2, 1 << shift).unwrap());
            }
            sum += size >> shift;
        }
    }
    sum
}

fn main() {
    let mut table: HashMap<String, Vec<u32>> = HashMap::new();
    for i in 0..200_000u32 {
        table.entry(format!("key{}", i % 3001)).or_default().push(i);
    }
    let sorted: BTreeMap<_, _> = table.iter().map(|(k, v)| (k.clone(), v.iter().map(|&n| n as u64).sum::<u64>())).collect();
    println!("{} {}", sorted.len(), sorted.values().enumerate().map(|(i, v)| i as u64 * v).sum::<u64>());
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let threads: Vec<_> = (0..8u64)
        .map(|n| {
            let sender = sender.clone();
            thread::spawn(move || {
                for i in 0..3000u64 {
                    sender.send(vec![n as u8; (i * 37 % 5000) as usize]).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    println!("{}", receiver.iter().map(|v| v.len() as u64 * u64::from(*v.first().unwrap_or(&0))).sum::<u64>());
    threads.into_iter().for_each(|t| t.join().unwrap());
    println!("{}", layouts());
    for i in 0..20 {
        let out = std::process::Command::new("sh").arg("-c").arg(format!("echo child {i}; exit 3")).output().unwrap();
        assert!(out.status.code() == Some(3) && out.stdout == format!("child {i}\n").into_bytes());
    }
    println!("{}", std::panic::catch_unwind(|| { let v: Vec<u8> = Vec::new(); v[7] }).is_err());
    std::process::exit(5);
}
