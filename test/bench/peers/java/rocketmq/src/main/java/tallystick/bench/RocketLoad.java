package tallystick.bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.LongAdder;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * RocketMQ's own Java client in the three ways of its benchmark programs: `threads` that send and wait (64 there), `async` sends with
 * a window, and `transaction` threads (32 there) whose local transaction commits at once. Two topics of eight queues, keys and bodies
 * that all differ. A message counts when it was answered SEND_OK; refused ones are counted apart. Prints one JSON object.
 */
public final class RocketLoad {
  private static final String[] TOPICS = {"bench-orders", "bench-payments"};
  private static final int POOL = 4096;

  private static final LongAdder acknowledged = new LongAdder();
  private static final LongAdder refused = new LongAdder();
  private static volatile Throwable lastRefusal;
  private static volatile boolean stopped;
  private static byte[][] values;

  public static void main(String[] args) throws Exception {
    String mode = args[0];
    String address = args[1];
    int bytes = Integer.parseInt(args[2]);
    int window = Integer.parseInt(args[3]);
    long warmUpMs = Long.parseLong(args[4]);
    long windowMs = Long.parseLong(args[5]);

    values = new byte[POOL][];
    for (int i = 0; i < POOL; i++) {
      values[i] = new byte[bytes];
      Arrays.fill(values[i], (byte) (97 + i % 26));
      byte[] serial = String.format("%08d", i).getBytes(StandardCharsets.US_ASCII);
      System.arraycopy(serial, 0, values[i], 0, Math.min(serial.length, bytes));
    }

    DefaultMQProducer producer = mode.equals("transaction") ? transactional() : new DefaultMQProducer("bench_producer");
    producer.setNamesrvAddr(address);
    producer.setDefaultTopicQueueNums(8);
    producer.start();
    for (String topic : TOPICS) firstSend(producer, topic);

    int threads = mode.equals("async") ? 1 : window;
    for (int t = 0; t < threads; t++) {
      int first = t;
      Thread thread =
          new Thread(
              () -> {
                if (mode.equals("async")) sendAsync(producer, window);
                else sendAndWait(producer, mode.equals("transaction"), first, threads);
              });
      thread.setDaemon(true);
      thread.start();
    }
    Thread.sleep(warmUpMs);
    long from = acknowledged.sum();
    long at = System.nanoTime();
    Thread.sleep(windowMs);
    double perSecond = (acknowledged.sum() - from) * 1e9 / (System.nanoTime() - at);
    stopped = true;
    System.out.printf(
        "{\"perSecond\":%d,\"completed\":%d,\"refused\":%d}%n", Math.round(perSecond), acknowledged.sum(), refused.sum());
    if (lastRefusal != null) System.err.println("rocketmq refused " + refused.sum() + ", the last with: " + lastRefusal);
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  /** Makes the topic; its route may take a moment to arrive. */
  private static void firstSend(DefaultMQProducer producer, String topic) throws Exception {
    for (int attempt = 0; ; attempt++) {
      try {
        producer.send(new Message(topic, values[0]));
        return;
      } catch (Exception error) {
        if (attempt == 40) throw error;
        Thread.sleep(250);
      }
    }
  }

  private static Message message(long n) {
    Message message = new Message(TOPICS[(int) (n & 1)], null, "order-" + n % POOL, values[(int) ((n * 31) % POOL)]);
    message.setWaitStoreMsgOK(true);
    return message;
  }

  private static void sendAndWait(DefaultMQProducer producer, boolean transaction, int first, int step) {
    for (long n = first; !stopped; n += step) {
      try {
        SendResult result =
            transaction ? producer.sendMessageInTransaction(message(n), null) : producer.send(message(n));
        count(result);
      } catch (Exception error) {
        refused(error);
      }
    }
  }

  private static void sendAsync(DefaultMQProducer producer, int window) {
    Semaphore free = new Semaphore(window);
    SendCallback callback =
        new SendCallback() {
          @Override
          public void onSuccess(SendResult result) {
            count(result);
            free.release();
          }

          @Override
          public void onException(Throwable error) {
            refused(error);
            free.release();
          }
        };
    for (long n = 0; !stopped; n++) {
      free.acquireUninterruptibly();
      try {
        producer.send(message(n), callback);
      } catch (Exception error) {
        refused(error);
        free.release();
      }
    }
  }

  private static void count(SendResult result) {
    if (result.getSendStatus() == SendStatus.SEND_OK) acknowledged.increment();
    else refused(new IllegalStateException(result.getSendStatus().name()));
  }

  private static void refused(Throwable error) {
    refused.increment();
    lastRefusal = error;
  }

  private static TransactionMQProducer transactional() {
    TransactionMQProducer producer = new TransactionMQProducer("bench_transaction_producer");
    producer.setTransactionListener(
        new TransactionListener() {
          @Override
          public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return LocalTransactionState.COMMIT_MESSAGE;
          }

          @Override
          public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return LocalTransactionState.COMMIT_MESSAGE;
          }
        });
    return producer;
  }
}
