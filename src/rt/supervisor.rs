//! Tasks that exist once: without one of them output, keepalives, new clients
//! or events would end without a word. One that panics is reported and started
//! again.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Before it starts again: at first, and at most; each time twice as long.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));

/// Runs the task that `start` makes until it ends by itself; `tell` gets a
/// message for the operator when it panics. What it is to keep over a panic is
/// held outside of it.
pub async fn keep<F: Future<Output = ()>>(
    name: &'static str,
    tell: impl Fn(&str),
    mut start: impl FnMut() -> F,
) {
    let mut pause = PAUSE.0;
    loop {
        let began = Instant::now();
        let Err(panic) = until_panic(start()).await else {
            return;
        };
        // It has done its work in between.
        if began.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        let why = text_of(&*panic);
        tell(&format!(
            "internal error in the task \"{name}\", which starts again: {why}"
        ));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn until_panic<F: Future<Output = ()>>(task: F) -> std::thread::Result<()> {
    let mut task = pin!(task);
    poll_fn(|cx| {
        // What the task shares with others is under locks that outlive a panic.
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_reported_and_starts_again_after_a_pause() {
        let told = RefCell::new(Vec::new());
        let starts = Cell::new(0);
        let began = Instant::now();
        let tell = |text: &str| told.borrow_mut().push(text.to_owned());
        keep("x", tell, || {
            starts.set(starts.get() + 1);
            let n = starts.get();
            async move {
                tokio::task::yield_now().await;
                match n {
                    1 => panic!("first"),
                    2 => panic!("second {n}"),
                    3 => std::panic::panic_any(3),
                    _ => {}
                }
            }
        })
        .await;
        let texts = ["first", "second 2", "panic"];
        let expected =
            texts.map(|t| format!("internal error in the task \"x\", which starts again: {t}"));
        assert_eq!(*told.borrow(), expected);
        assert_eq!(starts.get(), 4, "one that ends by itself is not started");
        assert_eq!(began.elapsed().as_millis(), 10 + 20 + 40);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_grows_to_its_most_and_is_short_again_after_a_good_while() {
        let starts = Cell::new(0);
        let ends = RefCell::new(Vec::new());
        keep(
            "x",
            |_| ends.borrow_mut().push(Instant::now()),
            || {
                starts.set(starts.get() + 1);
                let n = starts.get();
                async move {
                    match n {
                        1..20 => panic!(),
                        20 => {
                            tokio::time::sleep(PAUSE.1 * 2).await;
                            panic!()
                        }
                        21 => panic!(),
                        _ => {}
                    }
                }
            },
        )
        .await;
        let ends = ends.borrow();
        assert_eq!(ends[18] - ends[17], PAUSE.1);
        assert_eq!(ends[20] - ends[19], PAUSE.0);
    }
}
