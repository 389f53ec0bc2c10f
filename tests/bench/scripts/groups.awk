# Groups lines by their first fields in associative arrays, splits and joins strings, and forgets again.
{
  number[$2, $1]++
  text[$1] = text[$1] " " $3
  for (i = 3; i <= NF; i++) words[$i substr($1, 1, 3)]++
  if (NR % 100000 == 0) {
    for (key in text) sum += length(text[key]) + split(text[key], parts, " ")
    for (key in words) sum += words[key]
    for (key in number) sum += number[key]
    delete number; delete text; delete words
  }
}
END { print sum }
