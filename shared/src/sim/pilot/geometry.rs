//! Plane geometry on the grid, for pilots: lengths, and the quick guess of one.

/// A way or a velocity.
pub(super) type Vector = (i32, i32);

pub(super) fn squared((x, y): Vector) -> i64 {
    i64::from(x) * i64::from(x) + i64::from(y) * i64::from(y)
}

pub(super) fn length(vector: Vector) -> i32 {
    squared(vector).isqrt() as i32
}

/// The length within 7 %, without a root: good enough to compare and to sort out.
pub(super) fn rough_length((x, y): Vector) -> i32 {
    let (x, y) = (x.abs(), y.abs());
    x.max(y) + (x.min(y) >> 2) + (x.min(y) >> 3)
}

pub(super) fn dot((ax, ay): Vector, (bx, by): Vector) -> i64 {
    i64::from(ax) * i64::from(bx) + i64::from(ay) * i64::from(by)
}

pub(super) fn cross((ax, ay): Vector, (bx, by): Vector) -> i64 {
    i64::from(ax) * i64::from(by) - i64::from(ay) * i64::from(bx)
}

pub(super) fn sum((ax, ay): Vector, (bx, by): Vector) -> Vector {
    (ax + bx, ay + by)
}

/// `vector` times `ticks`.
pub(super) fn over((x, y): Vector, ticks: i32) -> Vector {
    (x * ticks, y * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rough_length_is_within_seven_percent() {
        for (x, y) in (0..200).flat_map(|x| (0..200).map(move |y| (x * 100, y * 100))) {
            let (exact, rough) = (length((x, y)), rough_length((x, y)));
            assert!((rough - exact).abs() * 100 <= exact * 7 + 100, "({x}, {y}): {rough}, not {exact}");
        }
    }
}
