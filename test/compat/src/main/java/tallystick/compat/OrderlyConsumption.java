package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages of one key go to one queue and are consumed in the order they were sent, a failed one included. */
final class OrderlyConsumption implements Scenario {
    private static final int KEYS = 5;
    private static final int STEPS = 20;

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("orderly");
        DefaultMQProducer producer = stage.producer("orderly-producer");

        stage.check("orderly consumption keeps each key's order over a failed attempt", () -> {
            for (int step = 0; step < STEPS; step++)
                for (int key = 0; key < KEYS; key++)
                    producer.send(
                        new Message(topic, Received.bytes(key + ":" + step)),
                        (queues, message, chosen) -> queues.get((Integer) chosen % queues.size()),
                        key);
            Map<String, List<Integer>> seen = new ConcurrentHashMap<>();
            AtomicInteger done = new AtomicInteger();
            AtomicBoolean failedOnce = new AtomicBoolean();
            stage.consumingInOrder("orderly-group", topic, (messages, context) -> {
                context.setAutoCommit(true);
                for (MessageExt message : messages) {
                    String[] parts = Received.text(message).split(":");
                    if (Received.text(message).equals("2:7") && failedOnce.compareAndSet(false, true)) {
                        context.setSuspendCurrentQueueTimeMillis(50);
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                    seen.computeIfAbsent(parts[0], key -> new ArrayList<>()).add(Integer.valueOf(parts[1]));
                    done.incrementAndGet();
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            await("all steps", () -> done.get() >= KEYS * STEPS, () -> seen.toString());
            for (Map.Entry<String, List<Integer>> entry : seen.entrySet())
                for (int at = 1; at < entry.getValue().size(); at++)
                    require(entry.getValue().get(at) == entry.getValue().get(at - 1) + 1, "key " + entry.getKey() + ": " + entry.getValue());
            require(failedOnce.get(), "nothing failed");
            return KEYS + " keys, " + STEPS + " steps each";
        });
    }
}
