package tallystick.bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own Java producer at its defaults with acks=1: two topics of eight partitions, bodies that all differ, with keys or
 * without. A message counts when its callback has named the right topic and a new offset of its partition. With a window of 0 only
 * the producer's buffer.memory bounds what is in flight. Prints one JSON object.
 */
public final class KafkaLoad {
  private static final String[] TOPICS = {"bench-orders", "bench-payments"};
  private static final int PARTITIONS = 8;
  private static final int POOL = 4096;

  private static volatile long acknowledged;
  private static volatile Exception failure;

  public static void main(String[] args) throws Exception {
    String address = args[0];
    int bytes = Integer.parseInt(args[1]);
    int window = Integer.parseInt(args[2]);
    long warmUpNs = Long.parseLong(args[3]) * 1_000_000;
    long windowNs = Long.parseLong(args[4]) * 1_000_000;
    boolean keyed = Boolean.parseBoolean(args[5]);

    Properties settings = new Properties();
    settings.put("bootstrap.servers", address);
    settings.put("acks", "1");
    settings.put("key.serializer", ByteArraySerializer.class.getName());
    settings.put("value.serializer", ByteArraySerializer.class.getName());
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", address))) {
      List<NewTopic> topics = Arrays.stream(TOPICS).map(name -> new NewTopic(name, PARTITIONS, (short) 1)).toList();
      admin.createTopics(topics).all().get();
    } catch (ExecutionException error) {
      if (!(error.getCause() instanceof TopicExistsException)) throw error;
    }

    byte[][] values = new byte[POOL][];
    byte[][] keys = new byte[POOL][];
    for (int i = 0; i < POOL; i++) {
      values[i] = new byte[bytes];
      Arrays.fill(values[i], (byte) (97 + i % 26));
      byte[] serial = String.format("%08d", i).getBytes(StandardCharsets.US_ASCII);
      System.arraycopy(serial, 0, values[i], 0, Math.min(serial.length, bytes));
      keys[i] = ("order-" + i).getBytes(StandardCharsets.US_ASCII);
    }

    Semaphore free = window > 0 ? new Semaphore(window) : null;
    Callback[] callbacks = new Callback[TOPICS.length];
    for (int t = 0; t < TOPICS.length; t++) callbacks[t] = check(TOPICS[t], free);

    KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings);
    long began = System.nanoTime();
    long countedFrom = -1;
    long countedAt = 0;
    for (int n = 0; failure == null; n++) {
      if ((n & 63) == 0) {
        long now = System.nanoTime();
        if (countedFrom < 0 && now - began >= warmUpNs) {
          countedAt = now;
          countedFrom = acknowledged;
        } else if (countedFrom >= 0 && now - countedAt >= windowNs) {
          double perSecond = (acknowledged - countedFrom) * 1e9 / (now - countedAt);
          producer.close();
          if (failure != null) break;
          System.out.printf("{\"perSecond\":%d,\"completed\":%d}%n", Math.round(perSecond), acknowledged);
          return;
        }
      }
      if (free != null) free.acquire();
      int slot = n % POOL;
      byte[] key = keyed ? keys[slot] : null;
      producer.send(new ProducerRecord<>(TOPICS[n & 1], key, values[(int) ((n * 31L) % POOL)]), callbacks[n & 1]);
    }
    throw failure;
  }

  /** Called by the producer's one I/O thread. */
  private static Callback check(String topic, Semaphore free) {
    long[] highest = new long[PARTITIONS];
    Arrays.fill(highest, -1);
    return (metadata, error) -> {
      if (error != null) {
        failure = error;
      } else if (!metadata.topic().equals(topic) || metadata.offset() <= highest[metadata.partition()]) {
        failure = new IllegalStateException("sent to " + topic + ", acknowledged as " + metadata);
      } else {
        highest[metadata.partition()] = metadata.offset();
        acknowledged = acknowledged + 1;
      }
      if (free != null) free.release();
    };
  }
}
