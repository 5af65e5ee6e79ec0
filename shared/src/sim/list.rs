//! A short list of fixed capacity inside a component, so that a match is one run of memory.
//!
//! *Invariant:* never allocates; keeps order on removal, because order is part of the state.

/// Up to `N` items in place.
#[derive(Clone, Copy, Debug)]
pub struct FixedList<T, const N: usize> {
    items: [T; N],
    count: u16,
}

impl<T: Copy + Default, const N: usize> Default for FixedList<T, N> {
    fn default() -> Self {
        FixedList { items: [T::default(); N], count: 0 }
    }
}

impl<T: Copy + Default, const N: usize> FixedList<T, N> {
    /// Adds `item` at the end; false (and unchanged) when the list is full.
    #[must_use]
    pub fn push(&mut self, item: T) -> bool {
        let Some(slot) = self.items.get_mut(usize::from(self.count)) else { return false };
        *slot = item;
        self.count += 1;
        true
    }

    /// Keeps the items for which `keep` is true, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for index in 0..usize::from(self.count) {
            let item = self.items[index];
            if keep(&item) {
                self.items[kept] = item;
                kept += 1;
            }
        }
        self.count = kept as u16;
    }

    /// [`FixedList::retain`], with each item in hand.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut kept = 0;
        for index in 0..usize::from(self.count) {
            let mut item = self.items[index];
            if keep(&mut item) {
                self.items[kept] = item;
                kept += 1;
            }
        }
        self.count = kept as u16;
    }

    pub fn clear(&mut self) {
        self.count = 0;
    }
}

/// Takes as many as fit.
impl<T: Copy + Default, const N: usize> FromIterator<T> for FixedList<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = FixedList::default();
        for item in items.into_iter().take(N) {
            let _ = list.push(item);
        }
        list
    }
}

impl<T, const N: usize> std::ops::Deref for FixedList<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items[..usize::from(self.count)]
    }
}

impl<T, const N: usize> std::ops::DerefMut for FixedList<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..usize::from(self.count)]
    }
}

impl<T: PartialEq, const N: usize> PartialEq for FixedList<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for FixedList<T, N> {}
