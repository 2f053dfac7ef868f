//! Tables for people: columns as wide as their widest cell, numbers to the right.

/// Lays out `rows` under `head`; every row must be as long as the head.
pub(crate) fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let is_number = |cell: &str| cell.parse::<f64>().is_ok();
    let to_right: Vec<bool> =
        (0..head.len()).map(|column| !rows.is_empty() && rows.iter().all(|row| is_number(&row[column]))).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            if to_right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    line(&head) + &rows.iter().map(|row| line(row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let rows = [vec!["s16".to_owned(), "7".to_owned()], vec!["longer".to_owned(), "1200".to_owned()]];
        assert_eq!(render(&["shim", "n"], &rows), "shim       n\ns16        7\nlonger  1200\n");
    }
}
