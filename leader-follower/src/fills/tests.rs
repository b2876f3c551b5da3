use super::*;

fn table(in_flight: usize, waiting: usize) -> FillTable<u32, &'static str> {
    FillTable::new(FillLimits { in_flight, waiting })
}

fn lead(table: &FillTable<u32, &'static str>, key: u32) -> FillGuard<u32, &'static str> {
    match table.join(key) {
        Join::Lead(guard) => guard,
        other => panic!("expected to lead, got {other:?}"),
    }
}

fn wait(table: &FillTable<u32, &'static str>, key: u32) -> FillWaiter<&'static str> {
    match table.join(key) {
        Join::Wait(waiter) => waiter,
        other => panic!("expected to wait, got {other:?}"),
    }
}

#[tokio::test]
async fn a_result_reaches_exactly_the_waiters_it_satisfies() {
    let table = table(4, 4);
    let guard = lead(&table, 1);
    let (local, token) = (wait(&table, 1), wait(&table, 1));
    assert_eq!((table.in_flight(), table.waiting()), (1, 2));
    guard.complete(Seq(7), "seven");
    assert_eq!(local.wait(Seq(7)).await, Waited::Ready("seven"));
    assert_eq!(token.wait(Seq(8)).await, Waited::TooOld(Seq(7)), "R18: its token says 8");
    assert_eq!((table.in_flight(), table.waiting()), (0, 0));
}

#[tokio::test]
async fn a_dropped_guard_wakes_its_waiters_and_frees_the_key() {
    let table = table(4, 4);
    let guard = lead(&table, 1);
    let waiter = tokio::spawn(wait(&table, 1).wait(Seq::ZERO));
    tokio::task::yield_now().await;
    drop(guard);
    assert_eq!(waiter.await.unwrap(), Waited::Abandoned);
    drop(lead(&table, 1));
    assert_eq!((table.in_flight(), table.waiting()), (0, 0));
}

#[tokio::test]
async fn errors_are_shared_but_not_the_deadline_of_another() {
    let table = table(4, 4);
    let guard = lead(&table, 1);
    let waiter = wait(&table, 1);
    guard.fail(Error::unavailable("the leader is away"));
    assert_eq!(waiter.wait(Seq::ZERO).await, Waited::Failed(Error::unavailable("the leader is away")));

    let guard = lead(&table, 1);
    let waiter = wait(&table, 1);
    guard.fail(Error::new(ErrorCode::DeadlineExceeded, "too late"));
    assert_eq!(waiter.wait(Seq::ZERO).await, Waited::Abandoned);
}

#[tokio::test]
async fn a_finished_guard_leaves_its_successor_alone() {
    let table = table(4, 4);
    let first = lead(&table, 1);
    // What `finish` does before the drop of the guard: the key is free, and somebody else takes it.
    table.shared.remove(&1);
    let second = lead(&table, 1);
    drop(first);
    let waiter = wait(&table, 1);
    second.complete(Seq(1), "second");
    assert_eq!(waiter.wait(Seq::ZERO).await, Waited::Ready("second"));
}

#[tokio::test]
async fn both_bounds_refuse_with_a_retryable_error() {
    let table = table(1, 1);
    let _guard = lead(&table, 1);
    let Join::Full(error) = table.join(2) else { panic!("a second fill must be refused") };
    assert!(error.retryable() && error.message.contains("1 fills in flight"), "{error}");
    let waiter = wait(&table, 1);
    let Join::Full(error) = table.join(1) else { panic!("a second waiter must be refused") };
    assert_eq!(error.code, ErrorCode::Overloaded);
    drop(waiter);
    drop(wait(&table, 1));
}
