# Groups records and rebuilds them: every step makes new arrays, objects and strings.
group_by(.group) | map({key: .[0].group, total: (map(.score) | add),
  names: (map(select(.owner.active) | .name | ascii_upcase) | unique | join(",") | length),
  tags: ([.[].tags[]] | group_by(.) | map({key: .[0], value: length}) | from_entries)})
