# Parses, groups and formats records: strings, arrays and hashes that the collector frees in bulk.
Record = Struct.new(:number, :key, :words)
2.times do
  records = File.foreach(ARGV[0]).map do |line|
    number, key, *words = line.split
    Record.new(number.to_i, key, words)
  end
  groups = records.group_by(&:key).transform_values { |list| list.sort_by(&:number).map { |r| r.words.join("-") } }
  puts groups.sum { |key, list| key.size + list.join(",").size }
end
