import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.*;
import javax.tools.*;

/** Objects of short and long lives in many threads, memory outside of the heap, and classes that come and go: the sum is always the same. */
public class Stress {
  static byte[] squeeze(byte[] bytes) throws Exception {
    Deflater deflater = new Deflater(6);
    deflater.setInput(bytes);
    deflater.finish();
    byte[] packed = new byte[bytes.length + 64];
    int length = deflater.deflate(packed);
    deflater.end();
    Inflater inflater = new Inflater();
    inflater.setInput(packed, 0, length);
    byte[] again = new byte[bytes.length];
    if (inflater.inflate(again) != bytes.length || !Arrays.equals(again, bytes)) throw new Exception("what was packed differs");
    inflater.end();
    return again;
  }

  static long task(int seed) throws Exception {
    Random random = new Random(seed);
    Map<String, byte[]> kept = new LinkedHashMap<>();
    long sum = 0;
    for (int i = 0; i < 30000; i++) {
      String key = "key" + random.nextInt(400);
      byte[] value = new byte[random.nextInt(2000)];
      random.nextBytes(value);
      byte[] old = kept.put(key, value);
      sum += old == null ? 1 : old.length;
      if (i % 500 == 0) {
        ByteBuffer outside = ByteBuffer.allocateDirect(1000 + random.nextInt(100000));
        outside.putInt(0, i);
        sum += outside.getInt(0) + outside.capacity();
        CRC32 crc = new CRC32();
        crc.update(squeeze(key.repeat(300).getBytes()));
        sum += crc.getValue();
      }
    }
    List<String> names = new ArrayList<>(kept.keySet());
    Collections.sort(names);
    return sum * 31 + String.join(",", names).hashCode();
  }

  /** A class of its own loader, which is garbage afterwards. */
  static long loaded(byte[] code) throws Exception {
    class Loader extends ClassLoader {
      Class<?> define() { return defineClass("Small", code, 0, code.length); }
    }
    return (Long) new Loader().define().getMethod("value").invoke(null);
  }

  static byte[] compiled() throws Exception {
    var folder = java.nio.file.Files.createTempDirectory("small");
    var source = folder.resolve("Small.java");
    java.nio.file.Files.writeString(source, "public class Small { public static Long value() { return 7L; } }");
    if (ToolProvider.getSystemJavaCompiler().run(null, null, null, "-d", folder.toString(), source.toString()) != 0) throw new Exception("javac");
    return java.nio.file.Files.readAllBytes(folder.resolve("Small.class"));
  }

  public static void main(String[] arguments) throws Exception {
    int threads = Integer.parseInt(arguments[0]), rounds = Integer.parseInt(arguments[1]);
    byte[] code = compiled();
    AtomicLong total = new AtomicLong();
    int tasks = 0;
    for (int round = 0; round < rounds; round++) {
      ExecutorService pool = Executors.newFixedThreadPool(threads);
      List<Future<Long>> found = new ArrayList<>();
      for (int k = 0; k < threads; k++, tasks++) {
        int seed = tasks;
        found.add(pool.submit(() -> task(seed)));
      }
      for (int k = 0; k < 50; k++) total.addAndGet(loaded(code));
      for (Future<Long> each : found) total.addAndGet(each.get());
      pool.shutdown();
    }
    System.out.println("sum " + total.get() + ", " + tasks + " tasks");
  }
}
